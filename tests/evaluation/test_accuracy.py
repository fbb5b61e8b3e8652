from collections.abc import Sequence
from dataclasses import astuple, replace
from itertools import product
from math import sqrt
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from memory import peak_kibibytes
from scipy.stats import bootstrap, norm, t

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import count_ties, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Interval, interval_of_draws, studentised_draws
from rewardgap.evaluation.margins import separation_and_gradient, separation_moments
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import RecordRewards, ScoreRow, write_scores

# Quarters: sums, differences and scaling by powers of two are exact, and ties are common.
quarters = st.integers(-40, 40).map(lambda value: value / 4)
side = st.lists(quarters, min_size=1, max_size=3).map(tuple)
record_rewards = st.lists(st.tuples(side, side), min_size=1, max_size=8)


def rows_of(rewards: Sequence[RecordRewards]) -> list[ScoreRow]:
    return [ScoreRow(str(i), chosen, rejected) for i, (chosen, rejected) in enumerate(rewards)]


def random_pairs(n: int, seed: int = 0) -> list[RecordRewards]:
    draws = np.random.default_rng(seed).normal([0.7, 0.0], 1.0, (n, 2))
    return [((float(chosen),), (float(rejected),)) for chosen, rejected in draws]


def width(interval: Interval) -> float:
    return interval.high - interval.low


def separation(rewards: Sequence[RecordRewards]) -> float:
    return float(separation_and_gradient(separation_moments(rewards).mean(axis=0))[0])


def brute_force(rewards: Sequence[RecordRewards]) -> tuple[float, float, int]:
    """Accuracy, separation and ties by plain loops over the definition."""
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
    square 10/6, so s^2 = 2/3 and the separation is (2/3) / sqrt(2/3) = sqrt(2/3).
    """
    summary = summarise(rows_of([((1.0,), (0.0,)), ((0.0,), (1.0,)), ((2.0,), (2.0,))]))
    assert (summary.n, summary.ties) == (3, 1)
    assert summary.accuracy.value == 0.5
    assert summary.separation.value == pytest.approx(sqrt(2 / 3), rel=1e-14)


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
    assert list(summarise([whole, bare]).baselines) == []
    assert list(summarise([bare, whole]).baselines) == []


def test_lengths_that_rows_hold_count_and_not_their_tokens() -> None:
    """Plain responses of 9 and 4 characters; as one kind writes them, of 5 and 6 tokens."""
    longer = {"longer": ((9.0,), (4.0,))}
    rows = [ScoreRow("a", (0.0,), (1.0,), (5,), (6,), False, longer)]
    baselines = summarise(rows).baselines
    assert (baselines["longer"].value, baselines["shorter"].value) == (1.0, 0.0)
    assert list(baselines) == ["longer", "shorter"]


def test_the_margin_is_signed_and_in_the_unit_of_the_rewards() -> None:
    """(1 + (-3)) / 2 for pairs; a record of several counts once: (2 + (1 - 0.5)) / 2."""
    wrong = summarise(rows_of([((1.0,), (0.0,)), ((-1.0,), (2.0,))])).margin
    assert wrong.value == -1.0 and wrong.low < -1.0 < wrong.high
    several = summarise(rows_of([((2.0,), (0.0,)), ((1.0,), (0.0, 1.0))]))
    assert several.margin.value == 1.25


def test_the_interval_of_a_margin_is_close_to_students() -> None:
    gaps = np.array([chosen - rejected for (chosen,), (rejected,) in random_pairs(200)])
    half = t.ppf(0.975, 199) * gaps.std(ddof=1) / sqrt(200)
    ours = summarise(rows_of(random_pairs(200))).margin
    assert (ours.low, ours.high) == pytest.approx(
        (gaps.mean() - half, gaps.mean() + half), abs=0.02
    )


def test_json_layout() -> None:
    row = ScoreRow("a", (1.0,), (0.0,), (5,), (3,), False, {"rule": ((1.0,), (1.0,))})
    report = summarise([row]).to_json()
    assert list(report) == ["n", "ties", "accuracy", "margin", "separation", "baselines"]
    assert list(report["baselines"]) == ["longer", "shorter", "rule"]
    figures = [
        report["accuracy"],
        report["margin"],
        report["separation"],
        *report["baselines"].values(),
    ]
    assert all(list(figure) == ["value", "low", "high"] for figure in figures)
    assert report["baselines"]["rule"]["value"] == 0.5


def test_no_rows() -> None:
    with pytest.raises(UserError, match="no score rows"):
        summarise([])


@given(record_rewards)
def test_values_equal_those_of_plain_loops(rewards: list[RecordRewards]) -> None:
    accuracy, normalised, ties = brute_force(rewards)
    assert record_accuracies(rewards).mean() == pytest.approx(accuracy)
    assert separation(rewards) == pytest.approx(normalised)
    assert count_ties(rewards) == ties


@given(record_rewards)
def test_swapping_the_sides_flips_accuracy_and_keeps_the_separation(
    rewards: list[RecordRewards],
) -> None:
    swapped = [(rejected, chosen) for chosen, rejected in rewards]
    accuracies = record_accuracies(rewards)
    assert np.all((accuracies >= 0) & (accuracies <= 1))
    assert record_accuracies(swapped) == pytest.approx(1 - accuracies)
    assert separation(swapped) == pytest.approx(separation(rewards))
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
    assert separation(moved) == pytest.approx(separation(rewards))


@given(st.lists(st.tuples(quarters, quarters), min_size=1, max_size=8))
def test_the_separation_of_pairs_is_at_most_two(pairs: list[tuple[float, float]]) -> None:
    """(a - b)^2 <= 2 (a - m)^2 + 2 (b - m)^2, whose mean over pairs is 4 s^2; then Jensen."""
    assume(len({reward for pair in pairs for reward in pair}) > 1)
    assert separation([((chosen,), (rejected,)) for chosen, rejected in pairs]) <= 2 + 1e-12


def test_equal_rewards_have_separation_zero() -> None:
    summary = summarise(rows_of([((0.1,), (0.1,))] * 7))
    assert summary.separation == Interval(0.0, 0.0, 0.0)
    assert (summary.accuracy.value, summary.ties) == (0.5, 7)


def test_huge_rewards_neither_overflow_nor_tie() -> None:
    rewards = [((1.7e308,), (-1.7e308,)), ((-1e-320,), (1e-320,))]
    assert record_accuracies(rewards).tolist() == [1.0, 0.0]
    assert separation(rewards) == pytest.approx(sqrt(2))  # gap 3.4 / 2, s^2 = 2 * 1.7^2 / 4


def test_an_outlier_does_not_spoil_the_resamples_without_it() -> None:
    """A resample of one pair alone has separation |d| / (|d| / 2) = 2, far from zero or not."""
    rewards = [((1e6 + 1,), (1e6,)), ((1e6 + 2,), (1e6 + 1,)), ((1e9,), (-3e8,))]
    for moments in separation_moments(rewards):
        assert separation_and_gradient(moments)[0] == pytest.approx(2.0, rel=1e-6)


def test_separation_interval_is_close_to_scipys_which_corrects_the_bias() -> None:
    rewards = random_pairs(150)
    chosen = np.array([c for (c,), _ in rewards])
    rejected = np.array([r for _, (r,) in rewards])

    def statistic(c: np.ndarray, r: np.ndarray, axis: int) -> np.ndarray:
        gap = np.abs(c - r).mean(axis=axis)
        return gap / np.concatenate([c, r], axis=axis).std(axis=axis)

    theirs = bootstrap(
        (chosen, rejected), statistic, paired=True, vectorized=True, method="BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    ours = summarise(rows_of(rewards)).separation
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


@given(record_rewards)
def test_the_gradient_of_the_separation_is_that_of_finite_differences(
    rewards: list[RecordRewards],
) -> None:
    means = separation_moments(rewards).mean(axis=0)
    size, total, squares = means[1:]
    assume(squares / size - (total / size) ** 2 > 1e-3)
    value, gradient = separation_and_gradient(means)
    steps = 1e-6 * np.eye(4)
    assert value == separation_and_gradient(means)[0]
    slopes = (
        separation_and_gradient(means + steps)[0] - separation_and_gradient(means - steps)[0]
    ) / 2e-6
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-5)


# Coverage of a nominal 95 % by separations. Rewards are N(0.7, 1) for chosen and N(0, 1) for
# rejected, or these rounded; records of a prompt share half of the variance of each.


def separation_of_rounded() -> float:
    """Sums over the values that rounded rewards can have."""
    support = np.arange(-9, 11)
    chosen, rejected = (np.diff(norm(m).cdf([*(support - 0.5), 10.5])) for m in (0.7, 0.0))
    gap = chosen @ np.abs(np.subtract.outer(support, support)) @ rejected
    either = (chosen + rejected) / 2
    return float(gap / np.sqrt(either @ support**2 - (either @ support) ** 2))


def separation_of_normal() -> float:
    """Differences are N(0.7, 2), and rewards a mixture of variance 1 + 0.35²."""
    gap = 0.7 * (2 * norm.cdf(0.7 / sqrt(2)) - 1) + 2 * norm.pdf(0.7 / sqrt(2)) * sqrt(2)
    return float(gap / sqrt(1 + 0.35**2))


@pytest.mark.parametrize(("prompts", "samples"), [(20, 600), (50, 400), (100, 300)])
def test_coverage_of_separations_over_ties_and_prompts(prompts: int, samples: int) -> None:
    generator = np.random.default_rng(5)
    truths = (separation_of_normal(), separation_of_rounded())
    covered = 0
    for sample in range(samples):
        rounded, several = sample % 2, sample % 4 // 2
        clusters = np.arange(prompts).repeat(generator.integers(1, 1 + 6**several, prompts))
        shared = generator.normal(0, sqrt(0.5), (prompts, 2))[clusters]
        rewards = generator.normal(shared + np.array([0.7, 0.0]), sqrt(0.5))
        rewards = np.round(rewards) if rounded else rewards
        moments = separation_moments([((c,), (r,)) for c, r in rewards.tolist()])
        draws = studentised_draws(moments, clusters, separation_and_gradient)
        found = interval_of_draws(float(separation_and_gradient(moments.mean(axis=0))[0]), draws)
        covered += found.low <= truths[rounded] <= found.high
    assert 0.93 <= covered / samples <= 0.97


def test_a_rule_equal_to_the_model_has_its_interval() -> None:
    rows = [replace(row, baselines={"same": row.scores}) for row in rows_of(random_pairs(40))]
    summary = summarise(rows)
    assert summary.baselines["same"] == summary.accuracy


def test_where_longer_fails_by_hand() -> None:
    """The longer response is chosen in a, rejected in b and c, neither in d; b is right, c a tie.

    In e it beats one of two shorter rejected ones only; the model is right there.
    """
    rows = [
        ScoreRow("a", (0.0,), (1.0,), (5,), (3,)),
        ScoreRow("b", (1.0,), (0.0,), (3,), (5,)),
        ScoreRow("c", (1.0,), (1.0,), (3,), (5,)),
        ScoreRow("d", (0.0,), (1.0,), (3,), (3,)),
        ScoreRow("e", (1.0,), (0.0, 0.5), (3,), (2, 4)),
    ]
    found = summarise(rows).figures["where_longer_fails"]
    assert found.value == 0.75
    assert "where_longer_fails" not in summarise([rows[0], rows[3]]).figures
    assert "where_longer_fails" not in summarise(rows_of([((1.0,), (0.0,))])).figures
    assert "where_longer_fails" in summarise(rows).to_json()


def test_records_of_one_prompt_are_resampled_together() -> None:
    rows = rows_of(random_pairs(120))
    paired = [replace(row, prompt=f"p{index % 40}") for index, row in enumerate(rows)]
    assert summarise(paired).accuracy.value == summarise(rows).accuracy.value
    # Here records of a prompt share their rewards, too.
    same = [
        replace(rows[index % 40], id=f"{index:03}", prompt=f"p{index % 40}") for index in range(120)
    ]
    wide, narrow = summarise(same), summarise([replace(row, prompt="") for row in same])
    assert width(wide.accuracy) > 1.5 * width(narrow.accuracy)
    assert width(wide.separation) > 1.5 * width(narrow.separation)
    # Ids of one length keep the prompts in one order, and so in the same resamples.
    alone = summarise([replace(rows[index], id=f"{index:03}") for index in range(40)])
    assert astuple(wide.accuracy) == pytest.approx(astuple(alone.accuracy))


def test_rows_without_a_prompt_have_one_of_their_own() -> None:
    rows = [
        ScoreRow(name, (1.0,), (0.0,), prompt=prompt)
        for name, prompt in [("a", "p"), ("p", ""), ("b", ""), ("c", "p")]
    ]
    assert prompt_clusters(rows).tolist() == [0, 1, 2, 0]


@given(record_rewards, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_is_of_no_consequence(
    rewards: list[RecordRewards], random: Random
) -> None:
    rows = [replace(row, prompt=random.choice(["", "p", "q"])) for row in rows_of(rewards)]
    shuffled = random.sample(rows, len(rows))
    assert summarise(shuffled) == summarise(rows)


def test_seeds_by_hand() -> None:
    """Accuracies 1 and 1/2, separations 2 (one pair alone) and √2 (as for huge rewards): means."""
    first = rows_of([((1.0,), (0.0,)), ((1.0,), (0.0,))])
    second = rows_of([((1.0,), (-1.0,)), ((0.0,), (0.0,))])
    summary = summarise(first, second[::-1])
    assert (summary.n, summary.ties) == (2, 1)
    assert summary.accuracy.value == 0.875
    assert summary.separation.value == pytest.approx((2 + sqrt(2)) / 2)


def test_a_seed_repeated_changes_nothing() -> None:
    rows = rows_of(random_pairs(40))
    once, thrice = summarise(rows), summarise(rows, rows, rows)
    assert astuple(thrice.accuracy) == pytest.approx(astuple(once.accuracy))
    assert astuple(thrice.separation) == pytest.approx(astuple(once.separation))


def test_seeds_that_disagree_widen_the_interval() -> None:
    bad = rows_of([(r, c) for c, r in random_pairs(100)])
    good = rows_of(random_pairs(100))
    assert width(summarise(good, bad).accuracy) > 5 * width(summarise(good).accuracy)
    assert summarise(good, bad).accuracy.value == pytest.approx(0.5)


def test_seeds_of_other_records_are_refused() -> None:
    with pytest.raises(UserError, match="the same ids"):
        summarise(rows_of(random_pairs(3)), rows_of(random_pairs(2)))
    with pytest.raises(UserError, match="no score rows"):
        summarise()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read there")
def test_a_hundred_thousand_rows_need_less_than_a_gibibyte(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    rule = {"bag_of_words": ((1.0,), (0.0,))}
    write_scores(
        path,
        (
            ScoreRow(f"{i:016}", (i % 7 / 7,), (i % 5 / 5,), (9,), (8,), False, rule, str(i))
            for i in range(100_000)
        ),
    )
    script = (
        "import sys\n"
        "from rewardgap.evaluation.measures import summarise\n"
        "from rewardgap.evaluation.scores import read_scores\n"
        "assert summarise(read_scores(sys.argv[1])).n == 100_000\n"
    )
    assert peak_kibibytes(script, path) < 2**20
