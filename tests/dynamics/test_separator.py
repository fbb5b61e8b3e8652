"""The max-margin separator against hand-derived answers and other solvers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from sklearn.svm import SVC

from rewardgap.dynamics.separator import max_margin_separator
from rewardgap.errors import UserError


def normal(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def separable_features(count: int, width: int, seed: int) -> np.ndarray:
    """Random features, turned so that a random direction has them all on its side."""
    features, direction = normal(count, width, seed=seed), normal(width, seed=seed + 1)
    return features * np.sign(features @ direction)[:, None]


def largest_margin(features: np.ndarray) -> float:
    """The largest t with ⟨u, φ_i⟩ ≥ t for every pair and |u|∞ ≤ 1, by linear programming."""
    count, width = features.shape
    return -linprog(
        c=np.append(np.zeros(width), -1),
        A_ub=np.column_stack([-features, np.ones(count)]),
        b_ub=np.zeros(count),
        bounds=[(-1, 1)] * width + [(0, None)],
    ).fun


def test_two_orthogonal_pairs():
    """u* = (½, 1): both constraints are tight, and their multipliers are ¼ and 1."""
    separator = max_margin_separator([[2, 0], [0, 1]])
    assert separator.direction == pytest.approx([0.5, 1])
    assert separator.multipliers == pytest.approx([0.25, 1])
    assert separator.margin == pytest.approx(1 / np.sqrt(1.25))


def test_a_pair_far_from_the_plane_does_not_matter():
    separator = max_margin_separator([[1, 0], [5, 3]])
    assert separator.direction == pytest.approx([1, 0])
    assert separator.multipliers == pytest.approx([1, 0])


def best_of_all_supports(features: np.ndarray) -> np.ndarray:
    """u* by trying every set of tight constraints: the shortest u that satisfies the others."""
    count = len(features)
    supports = itertools.chain.from_iterable(
        itertools.combinations(range(count), size) for size in range(1, count + 1)
    )
    solutions = [np.linalg.pinv(features[list(s)]) @ np.ones(len(s)) for s in supports]
    feasible = [u for u in solutions if (features @ u).min() >= 1 - 1e-9]
    return min(feasible, key=np.linalg.norm)


@pytest.mark.parametrize(("count", "width"), [(4, 9), (8, 2), (9, 5)])
def test_agrees_with_exhaustive_search(count, width):
    features = separable_features(count, width, seed=count)
    separator = max_margin_separator(features)
    np.testing.assert_allclose(separator.direction, best_of_all_supports(features), rtol=1e-9)


def test_agrees_with_a_support_vector_machine():
    """Pairs and their negatives make its intercept vanish by symmetry; it is right to 1e-5."""
    features = separable_features(40, 5, seed=7)
    machine = SVC(kernel="linear", C=1e8, tol=1e-9)
    machine.fit(np.concatenate([features, -features]), np.repeat([1, -1], 40))
    direction = max_margin_separator(features).direction
    np.testing.assert_allclose(direction, machine.coef_[0], rtol=1e-4)


@pytest.mark.parametrize(("count", "width"), [(60, 200), (200, 20)])
def test_optimality_conditions_hold(count, width):
    features = separable_features(count, width, seed=0)
    separator = max_margin_separator(features)
    products = separator.products(features)
    assert products.min() >= 1 - 1e-6
    assert separator.multipliers.min() >= 0
    np.testing.assert_allclose(separator.multipliers @ features, separator.direction, rtol=1e-6)
    assert products[separator.multipliers > 0] == pytest.approx(1, rel=1e-6)
    assert separator.residual <= 1e-6


@given(
    arrays(np.int8, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.integers(-3, 3))
)
def test_separability_agrees_with_linear_programming(features):
    separator = max_margin_separator(features)
    assert separator.separable == (largest_margin(features) > 1e-9)
    if separator.separable:
        assert separator.products(features).min() >= 1 - 1e-6
    else:
        assert separator.multipliers.min() >= 0
        assert separator.multipliers.sum() == pytest.approx(1)
        assert separator.multipliers @ features == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(scale):
    features = separable_features(20, 8, seed=3)
    separator, scaled = max_margin_separator(features), max_margin_separator(scale * features)
    np.testing.assert_allclose(scaled.direction * scale, separator.direction, rtol=1e-9)
    assert scaled.margin == pytest.approx(scale * separator.margin)
    assert scaled.products(scale * features) == pytest.approx(separator.products(features))


@pytest.mark.parametrize("margin", [1e-2, 1e-4, 1e-6])
def test_a_small_margin_is_found(margin):
    """Pairs that oppose each other in all coordinates but the first leave u* = (1/margin, 0, …)."""
    features = normal(30, 10, seed=4)
    features = np.concatenate([features, -features])
    features[:, 0] = margin
    separator = max_margin_separator(features)
    assert separator.margin == pytest.approx(margin, rel=1e-6)
    np.testing.assert_allclose(separator.direction * margin, np.eye(10)[0], atol=1e-6)


def test_repeated_pairs_do_not_matter():
    features = separable_features(15, 6, seed=5)
    repeated = max_margin_separator(np.concatenate([features, features, 2 * features]))
    expected = max_margin_separator(features).direction
    np.testing.assert_allclose(repeated.direction, expected, rtol=1e-9)


@pytest.mark.parametrize("extra", [[-2.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
def test_contradictory_and_identical_pairs_are_not_separable(extra):
    separator = max_margin_separator([[2, 1, 0], [0, 1, 1], extra])
    assert not separator.separable
    assert separator.direction.size == 0
    assert separator.margin == pytest.approx(0, abs=1e-12)
    with pytest.raises(UserError, match="not linearly separable"):
        separator.products([[1, 2, 3]])
    with pytest.raises(UserError, match="not linearly separable"):
        separator.positive_share([[1, 2, 3]])


def test_more_random_pairs_than_twice_the_width_are_not_separable():
    assert not max_margin_separator(normal(300, 20, seed=6)).separable


def test_positive_share_counts_no_ties():
    separator = max_margin_separator([[2, 0], [0, 1]])
    assert separator.products([[2, 1], [-2, 1], [-4, 1]]) == pytest.approx([2, 0, -1])
    assert separator.positive_share([[2, 1], [-2, 1], [-4, 1]]) == pytest.approx(1 / 3)
    assert np.isnan(separator.positive_share(np.empty((0, 2))))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.empty((0, 3)), r"\(0, 3\)"),
        ([1.0, 2.0], r"\(2,\)"),
        ([[1.0, 2.0], [np.nan, 1.0]], "pair 1"),
        ([[1.0, np.inf]], "pair 0"),
    ],
)
def test_unusable_features_are_refused(features, message):
    with pytest.raises(UserError, match=message):
        max_margin_separator(features)
