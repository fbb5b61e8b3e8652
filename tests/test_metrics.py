from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from rewardgap.errors import UserError
from rewardgap.metrics import (
    RESAMPLES,
    Interval,
    bootstrap_means,
    count_ties,
    margin_from_moments,
    margin_moments,
    mean_interval,
    record_accuracies,
    summarise,
)
from rewardgap.scores import RecordRewards, ScoreRow

# Quarters: sums, differences and scaling by powers of two are exact, and ties are common.
quarters = st.integers(-40, 40).map(lambda value: value / 4)
side = st.lists(quarters, min_size=1, max_size=3).map(tuple)
record_rewards = st.lists(st.tuples(side, side), min_size=1, max_size=8)


def rows_of(rewards: Sequence[RecordRewards]) -> list[ScoreRow]:
    return [ScoreRow(str(i), chosen, rejected) for i, (chosen, rejected) in enumerate(rewards)]


def random_pairs(n: int, seed: int = 0) -> list[RecordRewards]:
    draws = np.random.default_rng(seed).normal([0.7, 0.0], 1.0, (n, 2))
    return [((float(chosen),), (float(rejected),)) for chosen, rejected in draws]


def margin(rewards: Sequence[RecordRewards]) -> float:
    return float(margin_from_moments(margin_moments(rewards).mean(axis=0)))


def brute_force(rewards: Sequence[RecordRewards]) -> tuple[float, float, int]:
    """Accuracy, margin and ties by plain loops over the definition."""
    accuracies, gaps, ties = [], [], 0
    for chosen, rejected in rewards:
        pairs = list(product(chosen, rejected))
        accuracies.append(sum(1 if c > r else 0.5 if c == r else 0 for c, r in pairs) / len(pairs))
        gaps.append(sum(abs(c - r) for c, r in pairs) / len(pairs))
        ties += sum(c == r for c, r in pairs)
    every = [reward for sides in rewards for side in sides for reward in side]
    deviation = float(np.std(every))
    gap = sum(gaps) / len(gaps)
    return sum(accuracies) / len(accuracies), gap / deviation if deviation else 0.0, ties


def test_values_by_hand() -> None:
    """Pairs (1, 0), (0, 1), (2, 2): right, wrong, tie: accuracy (1 + 0 + 1/2) / 3 = 1/2, one tie.

    Mean |difference| is (1 + 1 + 0) / 3 = 2/3. The six rewards 1 0 0 1 2 2 have mean 1 and mean
    square 10/6, so s^2 = 2/3 and the margin is (2/3) / sqrt(2/3) = sqrt(2/3).
    """
    summary = summarise(rows_of([((1.0,), (0.0,)), ((0.0,), (1.0,)), ((2.0,), (2.0,))]))
    assert (summary.n, summary.ties) == (3, 1)
    assert summary.accuracy.value == 0.5
    assert summary.margin.value == pytest.approx(sqrt(2 / 3), rel=1e-14)


def test_several_responses_by_hand() -> None:
    """A record is a mean over its pairs, and records weigh the same.

    Chosen 3, rejected 1 3 5: 1, 1/2, 0, mean 1/2. Chosen 1, rejected 0: 1. Accuracy 3/4.
    """
    rewards = [((3.0,), (1.0, 3.0, 5.0)), ((1.0,), (0.0,))]
    assert record_accuracies(rewards).tolist() == [0.5, 1.0]
    assert summarise(rows_of(rewards)).accuracy.value == 0.75


def test_length_baselines_by_hand() -> None:
    """Tokens 5 against 3, 4 against 4, 9 against 2: longer 1, 1/2, 1; shorter 0, 1/2, 0."""
    rows = [
        ScoreRow("a", (0.0,), (1.0,), (5,), (3,)),
        ScoreRow("b", (0.0,), (1.0,), (4,), (4,)),
        ScoreRow("c", (0.0,), (1.0,), (9,), (2,)),
    ]
    baselines = summarise(rows).baselines
    assert baselines["longer"].value == pytest.approx(2.5 / 3)
    assert baselines["shorter"].value == pytest.approx(0.5 / 3)


def test_baselines_are_left_out_unless_every_row_has_them() -> None:
    rule = {"bag_of_words": ((1.0,), (0.0,))}
    whole = ScoreRow("a", (0.0,), (1.0,), (5,), (3,), False, rule)
    assert list(summarise([whole]).baselines) == ["longer", "shorter", "bag_of_words"]
    bare = ScoreRow("b", (0.0,), (1.0,))
    assert summarise([whole, bare]).baselines == {}
    assert summarise([bare, whole]).baselines == {}


def test_json_layout() -> None:
    row = ScoreRow("a", (1.0,), (0.0,), (5,), (3,), False, {"rule": ((1.0,), (1.0,))})
    report = summarise([row]).to_json()
    assert list(report) == ["n", "ties", "accuracy", "margin", "baselines"]
    assert list(report["baselines"]) == ["longer", "shorter", "rule"]
    figures = [report["accuracy"], report["margin"], *report["baselines"].values()]
    assert all(list(figure) == ["value", "low", "high"] for figure in figures)
    assert report["baselines"]["rule"]["value"] == 0.5


def test_no_rows() -> None:
    with pytest.raises(UserError, match="no score rows"):
        summarise([])


@given(record_rewards)
def test_values_equal_those_of_plain_loops(rewards: list[RecordRewards]) -> None:
    accuracy, normalised, ties = brute_force(rewards)
    assert record_accuracies(rewards).mean() == pytest.approx(accuracy)
    assert margin(rewards) == pytest.approx(normalised)
    assert count_ties(rewards) == ties


@given(record_rewards)
def test_swapping_the_sides_flips_accuracy_and_keeps_the_margin(
    rewards: list[RecordRewards],
) -> None:
    swapped = [(rejected, chosen) for chosen, rejected in rewards]
    accuracies = record_accuracies(rewards)
    assert np.all((accuracies >= 0) & (accuracies <= 1))
    assert record_accuracies(swapped) == pytest.approx(1 - accuracies)
    assert margin(swapped) == pytest.approx(margin(rewards))
    assert count_ties(swapped) == count_ties(rewards)


@given(record_rewards, st.integers(-900, 900), quarters)
def test_positive_scale_and_shift_change_nothing(
    rewards: list[RecordRewards], exponent: int, shift: float
) -> None:
    """Powers of two far beyond the range in which squares fit a float."""
    moved = [
        tuple(tuple((reward + shift) * 2.0**exponent for reward in side) for side in sides)
        for sides in rewards
    ]
    assert record_accuracies(moved).tolist() == record_accuracies(rewards).tolist()
    assert margin(moved) == pytest.approx(margin(rewards))


@given(st.lists(st.tuples(quarters, quarters), min_size=1, max_size=8))
def test_the_margin_of_pairs_is_at_most_two(pairs: list[tuple[float, float]]) -> None:
    """(a - b)^2 <= 2 (a - m)^2 + 2 (b - m)^2, whose mean over pairs is 4 s^2; then Jensen."""
    assume(len({reward for pair in pairs for reward in pair}) > 1)
    assert margin([((chosen,), (rejected,)) for chosen, rejected in pairs]) <= 2 + 1e-12


def test_equal_rewards_have_margin_zero() -> None:
    summary = summarise(rows_of([((0.1,), (0.1,))] * 7))
    assert summary.margin == Interval(0.0, 0.0, 0.0)
    assert (summary.accuracy.value, summary.ties) == (0.5, 7)


def test_huge_rewards_neither_overflow_nor_tie() -> None:
    rewards = [((1.7e308,), (-1.7e308,)), ((-1e-320,), (1e-320,))]
    assert record_accuracies(rewards).tolist() == [1.0, 0.0]
    assert margin(rewards) == pytest.approx(sqrt(2))  # gap 3.4 / 2, s^2 = 2 * 1.7^2 / 4


def test_an_outlier_does_not_spoil_the_resamples_without_it() -> None:
    """A resample of one pair alone has margin |d| / (|d| / 2) = 2, far from zero or not."""
    rewards = [((1e6 + 1,), (1e6,)), ((1e6 + 2,), (1e6 + 1,)), ((1e9,), (-3e8,))]
    for moments in margin_moments(rewards):
        assert margin_from_moments(moments) == pytest.approx(2.0, rel=1e-6)


def test_accuracy_interval_is_scipys_percentile_bootstrap() -> None:
    accuracies = record_accuracies(random_pairs(150))
    ours = mean_interval(accuracies, bootstrap_means(accuracies[:, None], seed=1)[:, 0])
    theirs = bootstrap(
        (accuracies,), np.mean, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == accuracies.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_margin_interval_recomputes_the_deviation_in_each_resample() -> None:
    rewards = random_pairs(150)
    chosen = np.array([c for (c,), _ in rewards])
    rejected = np.array([r for _, (r,) in rewards])

    def statistic(c: np.ndarray, r: np.ndarray, axis: int) -> np.ndarray:
        gap = np.abs(c - r).mean(axis=axis)
        return gap / np.concatenate([c, r], axis=axis).std(axis=axis)

    theirs = bootstrap(
        (chosen, rejected), statistic, paired=True, vectorized=True, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    ours = summarise(rows_of(rewards)).margin
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_resampled_means_are_those_of_drawn_rows() -> None:
    columns = np.random.default_rng(0).normal(size=(5, 2))
    generator = np.random.default_rng(3)
    expected = [columns[generator.integers(5, size=5)].mean(axis=0) for _ in range(20)]
    np.testing.assert_allclose(bootstrap_means(columns, seed=3, resamples=20), expected)


@pytest.mark.parametrize("n", [1, 2, 200])
@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_gives_the_clopper_pearson_interval(n: int, right: bool) -> None:
    values = np.full(n, float(right))
    ours = mean_interval(values, np.full(RESAMPLES, float(right)))
    theirs = binomtest(n * right, n).proportion_ci(0.95, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_all_ties_are_not_certain_either() -> None:
    """Unseen share p = 1 - 0.025^(1/10) = 0.3085; the mean lies in [(1 - p) / 2, (1 + p) / 2]."""
    interval = mean_interval(np.full(10, 0.5), np.full(RESAMPLES, 0.5))
    assert (interval.low, interval.high) == pytest.approx((0.34575, 0.65425), abs=5e-5)


def test_intervals_cover_the_truth() -> None:
    """Accuracy of N(0.7, 1) against N(0, 1) is Phi(0.7 / sqrt(2)) = 0.6897; 95 % of 60 is 57."""
    covered = 0
    for seed in range(60):
        accuracies = record_accuracies(random_pairs(100, seed))
        found = mean_interval(accuracies, bootstrap_means(accuracies[:, None], seed, 400)[:, 0])
        covered += found.low <= 0.6897 <= found.high
    assert covered >= 52


def test_the_seed_decides() -> None:
    rows = rows_of(random_pairs(40))
    assert summarise(rows, seed=1) == summarise(rows, seed=1)
    assert summarise(rows, seed=1).margin != summarise(rows, seed=2).margin


def test_a_rule_equal_to_the_model_has_its_interval() -> None:
    rows = [replace(row, baselines={"same": row.scores}) for row in rows_of(random_pairs(40))]
    summary = summarise(rows)
    assert summary.baselines["same"] == summary.accuracy
