"""Kernel gradient descent against weights written out, and its end against other solvers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from rewardgap.dynamics.descent import (
    LOWEST_LOSS,
    RANK,
    KernelTraining,
    Trajectory,
    TrajectoryPoints,
    converge,
    descend,
)
from rewardgap.dynamics.separator import max_margin_separator
from rewardgap.forecasting.kernels import products


def draw(rows: int, width: int, seed: int, shift: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, size=(rows, width))


def rows_only(kernel: np.ndarray, initial: np.ndarray) -> KernelTraining:
    """Training without test vectors."""
    return KernelTraining(kernel, initial, np.zeros(len(initial)), 1.0, 0.0, np.ones(len(initial)))


def flow(features: np.ndarray, initial: np.ndarray, loss: float) -> np.ndarray:
    """Weights w where plain gradient descent in feature space, in tiny steps, reaches a loss."""
    weights = np.zeros(features.shape[1])
    for _ in range(200_000):
        margins = initial + features @ weights
        if np.logaddexp(0, -margins).mean() <= loss:
            return weights
        weights = weights + 2e-3 * features.T @ expit(-margins) / len(margins)
    raise AssertionError("the loss is not reached")


@pytest.mark.parametrize("with_start", [False, True])
def test_path_is_that_of_small_steps_in_feature_space(with_start: bool) -> None:
    features, others = draw(12, 20, seed=0), draw(30, 20, seed=1)
    initial = draw(12, 1, seed=2)[:, 0] if with_start else np.zeros(12)
    path = descend(rows_only(features @ features.T, initial))
    for loss in (0.5, 0.2, 0.05):
        point = path.reach(loss)
        ours = others @ features.T @ path.points.weights[point]
        expected = others @ flow(features, initial, path.losses[point])
        np.testing.assert_allclose(ours, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_first_step_is_the_mean_feature_where_nothing_is_known_yet() -> None:
    features, others = draw(9, 5, seed=0), draw(4, 5, seed=1)
    path = descend(rows_only(features @ features.T, np.zeros(9)))
    np.testing.assert_allclose(
        others @ features.T @ path.first / path.first.sum(), others @ features.mean(0), atol=1e-12
    )


@given(st.integers(0, 50), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_losses_fall_and_are_those_of_the_weights(seed: int, rows: int, width: int) -> None:
    features, initial = draw(rows, width, seed), draw(rows, 1, seed + 1)[:, 0]
    kernel = features @ features.T
    path = descend(rows_only(kernel, initial))
    assert np.all(np.diff(path.losses) < 0)
    losses = np.logaddexp(0, -(initial[:, None] + kernel @ path.points.weights.T)).mean(0)
    np.testing.assert_allclose(losses, path.losses, rtol=1e-9)


def test_points_lie_close_even_where_one_step_would_fit_everything() -> None:
    features = np.full((5, 1), 3.0)
    path = descend(rows_only(features @ features.T, np.zeros(5)))
    assert path.losses[-1] < LOWEST_LOSS
    assert np.all(path.losses[1:] > 0.9 * path.losses[:-1])


def test_a_loss_out_of_reach_gives_the_last_point() -> None:
    path = Trajectory(
        np.ones(1), np.array([0.7, 0.6, 0.5]), TrajectoryPoints(np.zeros((3, 1)), np.zeros(3))
    )
    assert [path.reach(loss) for loss in (0.9, 0.6, 0.55, 0.1)] == [0, 1, 2, 2]


def test_a_resample_is_training_on_rows_as_often_as_they_are_drawn() -> None:
    features, initial = draw(8, 20, seed=0), draw(8, 1, seed=1)[:, 0]
    training = rows_only(features @ features.T, initial)
    sample = training.resampled(1, seed=3)
    assert sample.counts.sum() == 8 and sample.counts.max() > 1
    rows = np.repeat(np.arange(8), sample.counts.astype(int))
    repeated = rows_only(features[rows] @ features[rows].T, initial[rows])
    ours, expected = descend(sample, 0.2), descend(repeated, 0.2)
    np.testing.assert_allclose(ours.losses, expected.losses)
    scores = features @ features.T @ ours.points.weights[-1]
    np.testing.assert_allclose(scores, features @ features[rows].T @ expected.points.weights[-1])
    both = training.resampled(2, seed=3).counts
    assert (both[:4] == both[4:]).all()  # the two rows of a pair come together


def test_features_without_signal_stay_where_they_are() -> None:
    path = descend(rows_only(np.zeros((3, 3)), np.zeros(3)))
    assert path.losses.tolist() == pytest.approx([np.log(2)])
    limit = converge(rows_only(np.zeros((3, 3)), np.zeros(3)))
    assert not limit.separable
    assert not limit.weights.any()


def test_limit_of_separable_rows_is_the_max_margin_direction() -> None:
    features, others = draw(10, 25, seed=0), draw(40, 25, seed=1)
    limit = converge(rows_only(features @ features.T, np.zeros(10)))
    assert limit.separable
    quadratic = minimize(  # eq. 6 as it is written
        lambda u: u @ u / 2,
        np.zeros(25),
        jac=lambda u: u,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda u: features @ u - 1, "jac": lambda u: features},
    )
    products = others @ features.T @ limit.weights
    np.testing.assert_allclose(products, others @ quadratic.x, atol=1e-5)


def test_limit_of_other_rows_is_the_logistic_regression() -> None:
    features, others = draw(200, 4, seed=0, shift=0.3), draw(40, 4, seed=1)
    limit = converge(rows_only(features @ features.T, np.zeros(200)))
    assert not limit.separable
    both = np.concatenate([features, -features])
    labels = np.repeat([1, 0], 200)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(both, labels)
    products = others @ features.T @ limit.weights
    np.testing.assert_allclose(products, others @ model.coef_[0], rtol=1e-3, atol=1e-4)


def test_float32_features_of_noisy_labels_are_not_separable() -> None:
    """In float32 rounding would be directions of its own, in which any rows can be separated."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(120, 12, generator=generator) + 0.5
    features[::6] *= -1  # labels turned around
    assert not max_margin_separator(features.double().numpy()).separable
    matrix = products(features, features)
    assert np.linalg.matrix_rank(matrix, RANK * np.linalg.norm(matrix, 2)) == 12
    limit = converge(rows_only(matrix, np.zeros(120)))
    assert not limit.separable
    assert converge(rows_only(products(features[:8], features[:8]), np.zeros(8))).separable


def test_path_of_other_rows_ends_at_the_limit() -> None:
    features, others = draw(100, 3, seed=0, shift=0.3), draw(20, 3, seed=1)
    initial = draw(100, 1, seed=2)[:, 0]
    kernel = features @ features.T
    training = rows_only(kernel, initial)
    last, limit = descend(training).points.weights[-1], converge(training).weights
    expected = others @ features.T @ limit
    np.testing.assert_allclose(others @ features.T @ last, expected, atol=0.03)
