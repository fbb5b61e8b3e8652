"""Forecast accuracies and verdicts on rewards that are chosen by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Limit, Path, Points, Training, descend
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.evaluation.summary import summarise
from rewardgap.forecasting.evaluation import Evaluation
from rewardgap.forecasting.outcome import EvaluationSet, Outcome, Trained, predict, token_overlap
from rewardgap.forecasting.verdict import conclude, format_table

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


def one_row_path(weight: float) -> Trained:
    """Training on one row, which stands still at loss 0.7, 0.5, and `weight` at 0.3."""
    path = Path(np.ones(1), np.array([0.7, 0.5, 0.3]), points(0.0, 0.5, weight))
    return Trained(path, Limit(np.ones(1), True), 1, points(weight, weight))


def points(*weights: float) -> Points:
    """Weights of one basis vector of length 1."""
    return Points(np.array(weights)[:, None], np.array(weights) ** 2)


def make_set(records: Sequence[Record]) -> EvaluationSet:
    trees = [make_tree(*[(5, 9)] * len(record.responses)) for record in records]
    trees = [
        Tree("r", t.nodes, t.parents, len(r.chosen), len(r.rejected), t.lengths)
        for t, r in zip(trees, records, strict=True)
    ]
    blind = [(tuple(0.0 for _ in r.chosen), tuple(0.0 for _ in r.rejected)) for r in records]
    return EvaluationSet(records, trees, blind, 0.25)


def make_evaluation(kernel: Sequence[float], scores: Sequence[float] | None = None) -> Evaluation:
    count = len(kernel)
    return Evaluation(
        kernel=np.array(kernel)[:, None],
        probes=np.zeros((0, 1)),
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
    assert set(found.at_loss.baselines) == {"longer", "shorter", "bag_of_words", "constant"}


def test_a_loss_that_is_not_reached_is_told() -> None:
    evaluation = make_evaluation([1, 0])
    found = predict(one_row_path(1.0), evaluation, make_set([make_record(0)]), loss=0.1)
    assert found.loss == 0.3
    assert "no lower than a training loss of 0.3" in conclude({"set": {"explicit": found}}, 0.1)


def test_drift_lowers_longer_responses_more() -> None:
    evaluation = Evaluation(
        kernel=np.array([[1.0], [1.0]]),
        probes=np.array([[2.0], [0.0]]),
        scores=np.zeros(2),
        lengths=np.array([10.0, 4.0]),
        tokens=14.0,
        noise=0.5,
    )
    rate = np.array([3.5 / 14, 31.5 / 14])  # of 4 and 36 a half and 9 halves are noise
    expected = np.array([[1.0, 3.0], [1.0, 3.0]]) - np.outer([10, 4], rate / 2)
    np.testing.assert_allclose(evaluation.trained(points(1, 3)), expected)
    np.testing.assert_allclose(evaluation.change(points(1, 3).weights.T), [[1, 3], [1, 3]])


def test_descent_with_drift_follows_the_gradient_of_its_loss() -> None:
    random = np.random.default_rng(0)
    features, probes = random.normal(size=(6, 9)), random.normal(size=(4, 9))
    lengths, tokens, noise = random.normal(size=6) * 3, 7.0, 0.4
    basis = np.concatenate([features, probes])
    training = Training(basis @ basis.T, random.normal(size=6), lengths, tokens, noise, np.ones(6))

    def loss(weights: Array) -> float:
        drift = max(0, ((probes @ weights) ** 2).sum() - noise * weights @ weights) / tokens
        margins = training.initial + features @ weights - drift / 2 * lengths
        return float(np.logaddexp(0, -margins).mean())

    weights = random.normal(size=10)
    assert training.drift(weights, training.kernel @ weights) > 0
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


def outcome(right: int, total: int = 100, longer: float = 0.5, noise: float = 0.0) -> Outcome:
    """An outcome whose first `right` of `total` records are ranked rightly.

    The longer response is the chosen one in the last share of `longer`.
    """
    rows = [
        ScoreRow(
            str(i),
            (float(i < right),),
            (0.5,),
            (9 if i >= total - round(longer * total) else 7,),
            (8,),
        )
        for i in range(total)
    ]
    at_loss = summarise(rows)
    return Outcome(
        rows,
        at_loss,
        resamples(rows, noise),
        loss=0.3,
        one_step=at_loss.accuracy,
        convergence=at_loss.accuracy,
        separator_share=right / total,
        token_overlap=0.5,
        curve=[],
    )


def resamples(rows: Sequence[ScoreRow], noise: float) -> Array:
    """Accuracies of the records in four resamples, whose means differ by ± `noise`."""
    accuracies = np.array([float(row.scores_chosen > row.scores_rejected) for row in rows])
    return accuracies + np.array([[noise], [-noise], [noise], [-noise]])


def test_verdict_names_the_kind_and_where_it_fails() -> None:
    words = conclude(
        {
            "familiar": {"explicit": outcome(95), "implicit": outcome(94)},
            "reworded": {"explicit": outcome(90), "implicit": outcome(10)},
        },
        0.3,
    )
    assert "Train explicit: it is expected to be more accurate than implicit on reworded." in words
    assert "implicit is expected to fail, preferring the wrong response, on reworded." in words
    assert "explicit is expected to fail" not in words
    assert "content-blind" not in words


def test_verdict_on_noise_recommends_nothing_and_names_the_rule_that_does_better() -> None:
    chat = {kind: outcome(n, longer=0.6) for kind, n in (("explicit", 51), ("implicit", 48))}
    words = conclude({"chat": chat}, 0.3)
    assert "do not separate explicit and implicit on any set" in words
    assert "Train" not in words
    assert "explicit cannot be told from guessing on chat." in words
    # Right where explicit is wrong in 49 records, wrong where it is right in 40: chance.
    assert (
        "On chat the content-blind rule 'longer' scores higher than any kind, though not beyond "
        "chance: 0.600" in words
    )


@pytest.mark.parametrize(("noise", "beyond"), [(0.0, True), (0.5, False)])
def test_a_rule_does_better_only_beyond_chance(noise: float, beyond: bool) -> None:
    """By 49 records to 5; with the noise other training pairs would undo it."""
    kinds = {name: outcome(n, longer=0.95, noise=noise) for name, n in (("a", 51), ("b", 48))}
    words = conclude({"chat": kinds}, 0.3)
    assert ("'longer' does better than any kind: 0.950" in words) == beyond
    assert ("though not beyond chance" in words) != beyond


def test_training_pairs_that_cannot_be_separated_get_a_line() -> None:
    found = {"explicit": outcome(90), "implicit": replace(outcome(90), separator_share=None)}
    assert "pairs are not separable for implicit: no weights" in conclude({"set": found}, 0.3)
    assert "not separable" not in conclude({"set": {"explicit": outcome(90)}}, 0.3)
    lines = format_table({"set": found}, 0.3).splitlines()
    assert lines[2].endswith("  0.900")
    assert lines[3].endswith("  not separable")


def test_verdict_does_not_choose_what_other_training_pairs_would_undo() -> None:
    """An accuracy of 0.9 against 0.6 is beyond chance over records, not over training pairs."""
    one = {"chat": {"explicit": outcome(90), "implicit": outcome(60)}}
    assert "Train explicit" in conclude(one, 0.3)
    one = {"chat": {"explicit": outcome(90, noise=0.2), "implicit": outcome(60)}}
    assert "do not separate explicit and implicit on any set" in conclude(one, 0.3)


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


def test_verdict_does_not_choose_where_each_kind_has_its_set() -> None:
    words = conclude(
        {
            "one": {"explicit": outcome(90), "implicit": outcome(10)},
            "other": {"explicit": outcome(10), "implicit": outcome(90)},
        },
        0.3,
    )
    assert "No kind is better than all others" in words
    assert (
        "explicit is better than implicit on one; implicit is better than explicit on other"
        in words
    )


def test_one_kind_is_not_compared() -> None:
    assert "Only explicit was forecast" in conclude({"set": {"explicit": outcome(90)}}, 0.3)


def test_table_has_a_line_for_every_kind_and_rule() -> None:
    table = format_table({"set": {"explicit": outcome(90), "implicit": outcome(10)}}, 0.3)
    title, name, *lines = table.splitlines()
    assert title.split() == ["one", "step", "loss", "0.3", "convergence", "u*"]
    assert name == "set (token overlap 0.50)"
    assert [line.split()[0] for line in lines] == [
        *("explicit", "implicit", "(longer)", "(shorter)", "(constant)")
    ]
    assert lines[0].count("0.900 [") == 3
