"""Bootstrap intervals against distributions in closed form, other libraries, and their coverage."""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, bootstrap, multinomial, norm, t
from statsmodels.stats.proportion import proportion_confint

from rewardgap.evaluation.bootstrap import (
    MOST_CLUSTERS,
    RESAMPLES,
    FloatArray,
    Interval,
    Weights,
    cluster_totals,
    drawn_weights,
    interval_of_draws,
    join_clusters,
    mean_interval,
    over_seeds,
    random_weights,
    resampling_units,
    studentised_draws,
    weighted_sums,
)

thirds = st.integers(0, 3).map(lambda value: value / 3)
clustered_values = st.lists(st.tuples(thirds, st.integers(0, 5)), min_size=1, max_size=20)


def right_and_wrong(right: int, n: int) -> np.ndarray:
    return (np.arange(n) < right).astype(float)


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def numbered(labels: list[int]) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]


@pytest.mark.parametrize("weights", [random_weights(4)[:, :3], drawn_weights(3, 4)])
def test_sums_are_those_of_a_loop_over_records(weights: Weights) -> None:
    clusters = np.array([0, 1, 1, 2, 0])
    columns = np.random.default_rng(0).normal(size=(5, 2))
    sums, records = weighted_sums(resampling_units(columns, clusters, 4), weights)
    for draw in range(20):
        expected = sum(weights[draw, c] * x for c, x in zip(clusters, columns, strict=True))
        np.testing.assert_allclose(sums[draw], expected)
        assert records[draw, 0] == pytest.approx(sum(weights[draw, c] for c in clusters))


def test_the_seed_decides() -> None:
    values = right_and_wrong(30, 40)
    assert mean_interval(values, np.arange(40), 1) == mean_interval(values, np.arange(40), 1)
    assert mean_interval(values, np.arange(40), 1) != mean_interval(values, np.arange(40), 2)


@pytest.mark.parametrize(("right", "n"), [(1, 20), (15, 20), (42, 60), (190, 200)])
def test_right_and_wrong_records_give_quantiles_of_a_beta_distribution(right: int, n: int) -> None:
    """n exponential weights and two Gamma(3/4) ones make a Beta(right + 3/4, wrong + 3/4)."""
    exact = beta(right + 0.75, n - right + 0.75)
    found = bounds(mean_interval(right_and_wrong(right, n), np.arange(n)))
    assert found == pytest.approx(tuple(exact.ppf([0.025, 0.975])), abs=0.15 * exact.std())


def test_interval_is_close_to_those_of_scipy_and_statsmodels() -> None:
    values = right_and_wrong(105, 150)
    ours = bounds(mean_interval(values, np.arange(150)))
    percentile = bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((percentile.low, percentile.high), abs=0.012)
    assert ours == pytest.approx(proportion_confint(105, 150, method="jeffreys"), abs=0.008)


def test_records_of_one_prompt_count_as_one() -> None:
    values = np.random.default_rng(0).choice([0.0, 0.5, 1.0], 40)
    alone = mean_interval(values, np.arange(40))
    thrice = mean_interval(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    assert astuple(thrice) == pytest.approx(astuple(alone))
    apart = mean_interval(np.repeat(values, 3), np.arange(120))
    assert apart.high - apart.low < 0.7 * (alone.high - alone.low)


@pytest.mark.parametrize("n", [1, 2, 200])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_gives_the_clopper_pearson_interval(n: int, right: bool) -> None:
    theirs = binomtest(n * right, n).proportion_ci(0.95, method="exact")
    for copies in (1, 3):
        clusters = np.repeat(np.arange(n), copies)
        ours = mean_interval(np.full(n * copies, float(right)), clusters)
        assert bounds(ours) == pytest.approx((theirs.low, theirs.high))


def test_all_ties_are_not_certain_either() -> None:
    """Unseen share p = 1 - 0.025^(1/10) = 0.3085; the mean lies in [(1 - p) / 2, (1 + p) / 2]."""
    interval = mean_interval(np.full(10, 0.5), np.arange(10))
    assert bounds(interval) == pytest.approx((0.34575, 0.65425), abs=5e-5)


@settings(deadline=None)
@given(clustered_values)
def test_the_interval_holds_the_value_and_keeps_to_the_support(
    pairs: list[tuple[float, int]],
) -> None:
    values, clusters = np.array([v for v, _ in pairs]), numbered([c for _, c in pairs])
    found = mean_interval(values, clusters)
    assert found.value == pytest.approx(values.mean())
    assert -1e-12 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1 + 1e-12


@settings(deadline=None)
@given(clustered_values)
def test_negated_values_have_the_negated_interval(pairs: list[tuple[float, int]]) -> None:
    values, clusters = np.array([2 * v - 1 for v, _ in pairs]), numbered([c for _, c in pairs])
    there = mean_interval(values, clusters, support=(-1.0, 1.0))
    back = mean_interval(-values, clusters, support=(-1.0, 1.0))
    assert astuple(-back) == pytest.approx(astuple(there))


def test_many_clusters_are_joined_without_loss() -> None:
    totals = np.random.default_rng(0).normal(size=(10 * MOST_CLUSTERS + 7, 2))
    joined = join_clusters(totals, seed=0)
    assert len(joined) == MOST_CLUSTERS
    np.testing.assert_allclose(joined.sum(axis=0), totals.sum(axis=0))
    assert joined[:, 0].std() == pytest.approx(np.sqrt(10), rel=0.05)
    values = right_and_wrong(14_000, 20_000)
    ours = bounds(mean_interval(values, np.arange(20_000)))
    assert ours == pytest.approx(proportion_confint(14_000, 20_000, method="wilson"), abs=5e-4)


def test_cluster_totals_by_hand() -> None:
    columns = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    clusters = np.array([1, 0, 1])
    assert cluster_totals(columns, clusters).tolist() == [[3.0, 4.0], [6.0, 8.0]]
    assert resampling_units(columns, clusters, 0).tolist() == [[3.0, 4.0, 1.0], [6.0, 8.0, 2.0]]


def square_of_mean(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    return means[..., 0] ** 2, 2 * means


def test_studentised_draws_are_those_of_a_loop_over_resamples() -> None:
    """Of m²: the delta method's error of a resample is 2 |m| times that of its mean."""
    values = np.random.default_rng(0).exponential(size=30)

    def value_and_error(sample: FloatArray) -> tuple[float, float]:
        return sample.mean() ** 2, 2 * sample.mean() * sample.std() / np.sqrt(30)

    value, error = value_and_error(values)
    draws = studentised_draws(values[:, None], np.arange(30), square_of_mean, seed=1)
    assert draws.shape == (RESAMPLES,)
    for times, draw in zip(drawn_weights(30, 1)[:20].astype(int), draws, strict=False):
        other, spread = value_and_error(np.repeat(values, times))
        assert draw == pytest.approx(value - error * (other - value) / spread)


def test_studentised_draws_of_prompts_count_their_records_together() -> None:
    values, clusters = np.random.default_rng(0).normal(3, 1, (20, 1)), np.arange(20)
    alone = studentised_draws(values, clusters, square_of_mean)
    twice = studentised_draws(np.repeat(values, 2, axis=0), clusters.repeat(2), square_of_mean)
    np.testing.assert_allclose(twice, alone)


def test_normal_values_have_students_interval() -> None:
    """Bootstrap-t estimates the very distribution that Student derived."""

    def mean(means: FloatArray) -> tuple[FloatArray, FloatArray]:
        return means[..., 0], np.ones_like(means)

    values = norm.ppf((np.arange(25) + 0.5) / 25)[:, None] + 9
    expected = t(24, 9, values.std(ddof=1) / 5).interval(0.95)
    found = interval_of_draws(9.0, studentised_draws(values, np.arange(25), mean))
    assert bounds(found) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("n", [1, 7])
def test_a_statistic_without_spread_has_an_interval_without_width(n: int) -> None:
    draws = studentised_draws(np.full((n, 1), 2.0), np.arange(n), square_of_mean)
    assert interval_of_draws(4.0, draws) == Interval(4.0, 4.0, 4.0)


def test_an_interval_of_draws_holds_the_value() -> None:
    draws = np.linspace(-1, 1, RESAMPLES)
    assert bounds(interval_of_draws(0.5, draws)) == pytest.approx((-0.95, 0.95), abs=1e-3)
    assert bounds(interval_of_draws(2.0, draws)) == pytest.approx((-0.95, 2), abs=1e-3)


def test_one_seed_adds_nothing_nor_do_seeds_that_differ_by_the_records_alone() -> None:
    generator = np.random.default_rng(0)
    resampled = generator.normal(0.7, 0.05, (400, 1))
    np.testing.assert_array_equal(over_seeds(np.array([0.7]), resampled), resampled[:, 0])
    three = generator.normal(0.7, 0.05, (400, 3))
    close = over_seeds(np.array([0.69, 0.7, 0.71]), three)
    np.testing.assert_allclose(close, three.mean(axis=1))


def test_seeds_that_differ_by_more_give_students_interval() -> None:
    """Without any sampling of records it is that of the mean of the seeds."""
    values = np.array([0.60, 0.70, 0.74])
    draws = over_seeds(values, np.tile(values, (200_000, 1)))
    expected = t(2, values.mean(), values.std(ddof=1) / np.sqrt(3)).interval(0.95)
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx(np.array(expected), abs=0.01)


def test_two_seeds_that_differ_do_not_span_everything() -> None:
    """Of 60 records, 30 are right with one seed and 52 with the other."""
    values = np.array([[1.0] * 30 + [0.0] * 30, [1.0] * 52 + [0.0] * 8]).T
    found = mean_interval(values, np.arange(60))
    assert found.low < 0.5 and found.high > 52 / 60, "both seeds are within it"
    assert found.low > 0.05
    assert mean_interval(values[:, :1], np.arange(60)).high < found.high


# Coverage of a nominal 95 %. Accuracies near one value are averaged, as that of a single pair of
# n and accuracy jumps with every record that more or less is right (Brown, Cai, DasGupta 2001).

WINDOW = np.linspace(-0.03, 0.03, 13)


def outcomes(n: int, most_ties: int) -> Iterator[tuple[int, int, int]]:
    """All numbers of (right, tied, wrong) records."""
    for ties in range(most_ties + 1):
        yield from ((right, ties, n - right - ties) for right in range(n - ties + 1))


@pytest.mark.parametrize(
    ("n", "share"), [(20, 0.0), (40, 0.0), (100, 0.0), (20, 0.1), (20, 0.3), (20, 0.5), (30, 0.2)]
)
def test_coverage_over_ties_and_small_n(n: int, share: float) -> None:
    """Exact: every outcome's interval, weighted with the probability of the outcome."""
    counts = np.array(list(outcomes(n, n if share else 0)))
    found = np.array(
        [
            bounds(mean_interval(np.repeat([1.0, 0.5, 0.0], row), np.arange(n)))
            for row in counts.tolist()
        ]
    )
    for accuracy in (0.5, 0.7, 0.85, 0.95):
        truths = [p for p in accuracy + WINDOW if share / 2 <= p <= 1 - share / 2]
        covered = [
            multinomial.pmf(counts, n, [p - share / 2, share, 1 - p - share / 2])[
                (found[:, 0] <= p) & (p <= found[:, 1])
            ].sum()
            for p in truths
        ]
        if len(covered) > len(WINDOW) / 2:
            assert 0.93 <= np.mean(covered) <= 0.97, accuracy


@pytest.mark.parametrize("prompts", [20, 50, 100])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_coverage_over_prompts_of_several_records(correlation: float, prompts: int) -> None:
    """Prompts of 1 to 6 records, each with an accuracy of its own; 95 % of 500 is 475."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(500):
        truth = generator.uniform(0.6, 0.9)
        own = generator.random(prompts) < correlation  # prompts that are all right or all wrong
        chances = np.where(own, generator.random(prompts) < truth, truth)
        clusters = np.repeat(np.arange(prompts), generator.integers(1, 7, prompts))
        values = (generator.random(len(clusters)) < chances[clusters]).astype(float)
        found = mean_interval(values, clusters)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 500 <= 0.97
