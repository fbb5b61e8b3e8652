"""Forecast accuracies on rewards that are chosen by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import (
    Convergence,
    KernelTraining,
    Trajectory,
    TrajectoryPoints,
    descend,
)
from rewardgap.forecasting.kernels import EvaluationKernel
from rewardgap.forecasting.outcome import (
    ForecastSet,
    ForecastTraining,
    predict,
    token_overlap,
)

Array = np.ndarray


def say(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def make_record(number: int, chosen: int = 1, rejected: int = 1) -> Record:
    sides = (tuple(say("a") for _ in range(count)) for count in (chosen, rejected))
    return Record(str(number), (Message("user", f"x{number}"),), *sides, {})


def make_tree(*responses: tuple[int, ...]) -> Tree:
    count = len(responses)
    return Tree(
        "r", ((1,), *responses), (-1, *[0] * count), 1, count - 1, tuple(map(len, responses))
    )


def one_row_path(weight: float) -> ForecastTraining:
    """Training on one row, which stands still at loss 0.7, 0.5, and `weight` at 0.3."""
    path = Trajectory(np.ones(1), np.array([0.7, 0.5, 0.3]), points(0.0, 0.5, weight))
    return ForecastTraining(path, Convergence(np.ones(1), True), 1, points(weight, weight))


def points(*weights: float) -> TrajectoryPoints:
    """Weights of one basis vector of length 1."""
    return TrajectoryPoints(np.array(weights)[:, None], np.array(weights) ** 2)


def make_set(records: Sequence[Record]) -> ForecastSet:
    trees = [make_tree(*[(5, 9)] * len(record.responses)) for record in records]
    trees = [
        Tree("r", t.nodes, t.parents, len(r.chosen), len(r.rejected), t.lengths)
        for t, r in zip(trees, records, strict=True)
    ]
    return ForecastSet(records, trees, BagOfWords({}), 0.25)


def make_evaluation(
    kernel: Sequence[float], scores: Sequence[float] | None = None
) -> EvaluationKernel:
    count = len(kernel)
    return EvaluationKernel(
        kernel=np.array(kernel)[:, None],
        test_vectors=np.zeros((0, 1)),
        scores=np.zeros(count) if scores is None else np.array(scores),
        lengths=np.full(count, 2.0),
        tokens=1.0,
        noise=0.0,
    )


def test_accuracies_along_training_by_hand() -> None:
    records = [make_record(0), make_record(1), make_record(2, rejected=2)]
    #                          right      wrong     one right, one tie
    evaluation = make_evaluation([2, 1, 0, 3, 1, 0, 1], scores=[0, 0.6, 2, 0, 0, 0, 0])
    found = predict(one_row_path(1.0), evaluation, make_set(records), loss=0.3)
    # At weight 1 rewards are 2 > 1.6, 2 < 3, and 1 > 0, 1 = 1.
    assert found.at_loss.accuracy.value == pytest.approx((1 + 0 + 0.75) / 3)
    assert found.rows[0].scores == ((2.0,), (1.6,))
    assert found.loss == 0.3
    # The first step alone: 2 > 1, 0 < 3, 1 > 0 and a tie; the same at the end.
    assert found.one_step.value == found.convergence.value == pytest.approx(1.75 / 3)
    assert found.separator_share == pytest.approx((1 + 0 + 0.5) / 3)
    # At weight ½: 1 < 1.1, 2 > 1.5, 0.75.
    assert found.curve == [(0.5, pytest.approx(1.75 / 3)), (0.3, pytest.approx(1.75 / 3))]
    assert found.token_overlap == 0.25
    assert set(found.at_loss.baselines) == {"longer", "shorter", "bag_of_words"}


def test_a_loss_that_is_not_reached_is_told() -> None:
    evaluation = make_evaluation([1, 0])
    found = predict(one_row_path(1.0), evaluation, make_set([make_record(0)]), loss=0.1)
    assert found.loss == 0.3


def test_the_log_partition_lowers_longer_responses_more() -> None:
    evaluation = EvaluationKernel(
        kernel=np.array([[1.0], [1.0]]),
        test_vectors=np.array([[2.0], [0.0]]),
        scores=np.zeros(2),
        lengths=np.array([10.0, 4.0]),
        tokens=14.0,
        noise=0.5,
    )
    rate = np.array([3.5 / 14, 31.5 / 14])  # of 4 and 36 a half and 9 halves are noise
    expected = np.array([[1.0, 3.0], [1.0, 3.0]]) - np.outer([10, 4], rate / 2)
    np.testing.assert_allclose(evaluation.trained(points(1, 3)), expected)
    np.testing.assert_allclose(evaluation.change(points(1, 3).weights.T), [[1, 3], [1, 3]])


def test_descent_with_the_log_partition_follows_the_gradient_of_its_loss() -> None:
    random = np.random.default_rng(0)
    features, tested = random.normal(size=(6, 9)), random.normal(size=(4, 9))
    lengths, tokens, noise = random.normal(size=6) * 3, 7.0, 0.4
    basis = np.concatenate([features, tested])
    training = KernelTraining(
        basis @ basis.T, random.normal(size=6), lengths, tokens, noise, np.ones(6)
    )

    def loss(weights: Array) -> float:
        variance = max(0, ((tested @ weights) ** 2).sum() - noise * weights @ weights) / tokens
        margins = training.initial + features @ weights - variance / 2 * lengths
        return float(np.logaddexp(0, -margins).mean())

    weights = random.normal(size=10)
    assert training.variance(weights, training.kernel @ weights) > 0
    point = basis.T @ weights
    direction = basis.T @ training.descent(weights, basis @ point)
    steps = np.eye(9) * 1e-5
    slopes = [(loss(point + step) - loss(point - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(direction / 6, -np.array(slopes), atol=1e-8)
    path = descend(training)
    assert [loss(basis.T @ each) for each in path.points.weights] == pytest.approx(
        path.losses.tolist()
    )


def test_token_overlap_leaves_out_the_end_of_the_turn() -> None:
    training = [make_tree((5, 6, 9), (7, 9))]
    evaluation = [make_tree((5, 8, 8, 6, 9), (4, 9)), make_tree((7, 9), (9,))]
    assert token_overlap(training, evaluation) == pytest.approx((0.5 + 0 + 1) / 3)


def test_intervals_at_the_loss_hold_over_training_pairs_too() -> None:
    records = [make_record(i) for i in range(50)]
    evaluation = make_evaluation([1, 0] * 25 + [-1, 0] * 25)
    steady = one_row_path(1.0)
    shaky = replace(steady, resampled=points(*[1, -1] * 3))  # all right, or all wrong
    narrow, wide = (predict(t, evaluation, make_set(records), 0.3) for t in (steady, shaky))
    assert narrow.at_loss.accuracy.value == wide.at_loss.accuracy.value == 0.5
    assert (narrow.at_loss.accuracy.high - 0.5) < 0.2
    assert wide.at_loss.accuracy == narrow.at_loss.accuracy  # both halves swap: no difference
    uneven = make_evaluation([1, 0] * 50)
    steady, shaky = (predict(t, uneven, make_set(records), 0.3) for t in (steady, shaky))
    assert steady.at_loss.accuracy.low > 0.9
    assert shaky.at_loss.accuracy.low < 0.05
