"""The drop from a set to its perturbed counterparts, by hand and against plain loops."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from rewardgap.errors import UserError
from rewardgap.evaluation.comparisons import compare
from rewardgap.evaluation.robustness import drop
from rewardgap.evaluation.scores import ScoreRow

RIGHT, TIE, WRONG = 1.0, 0.0, -1.0
rewards = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=12)


def rows_of(rewards: list[float], prefix: str = "") -> list[ScoreRow]:
    return [ScoreRow(f"{prefix}{i}", (reward,), (0.0,)) for i, reward in enumerate(rewards)]


def test_drop_and_flips_by_hand() -> None:
    """Accuracy 3/4 to (1/2 + 0 + 1 + 1)/4; flips: half, whole, whole the other way, none."""
    original = rows_of([RIGHT, RIGHT, WRONG, RIGHT])
    shifted = rows_of([TIE, WRONG, RIGHT, RIGHT], prefix="reworded-")
    found = drop([(original, shifted)])
    assert found.loss.n == 4
    assert found.loss.difference.value == pytest.approx(0.125)
    assert found.flip_rate.value == pytest.approx(0.625)


def test_flips_of_several_responses_are_counted_by_pair() -> None:
    """Two pairs, right and wrong, change places: no drop, and both flip."""
    found = drop([([ScoreRow("a", (1.0,), (0.0, 2.0))], [ScoreRow("b", (1.0,), (2.0, 0.0))])])
    assert (found.loss.difference.value, found.flip_rate.value) == (0.0, 1.0)


@settings(deadline=None)
@given(rewards)
def test_as_plain_loops_and_the_other_way_round(pairs: list[tuple[int, int]]) -> None:
    before, after = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    there = drop([(rows_of(before), rows_of(after))])
    back = drop([(rows_of(after), rows_of(before))])

    def accuracy(values: list[float]) -> float:
        return sum(1 if v > 0 else 0.5 if v == 0 else 0 for v in values) / len(values)

    assert there.loss.difference.value == pytest.approx(accuracy(before) - accuracy(after))
    assert astuple(-back.loss.difference) == pytest.approx(astuple(there.loss.difference))
    assert back.flip_rate == there.flip_rate
    assert abs(there.loss.difference.value) <= there.flip_rate.value + 1e-12


def test_interval_is_close_to_scipys_paired_bootstrap() -> None:
    draws = np.random.default_rng(0).normal([0.8, 0.2], 1.0, (150, 2))
    found = drop([(rows_of(draws[:, 0].tolist()), rows_of(draws[:, 1].tolist()))])
    right = (draws > 0).astype(float)
    theirs = bootstrap(
        (right[:, 0] - right[:, 1],), np.mean, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.loss.difference.low, found.loss.difference.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.02
    )


def test_rows_of_the_same_ids_are_a_paired_comparison() -> None:
    first, second = rows_of([RIGHT, WRONG, RIGHT, RIGHT]), rows_of([WRONG, WRONG, TIE, RIGHT])
    assert drop([(first, second)]).loss.difference == compare(first, second).difference


def test_records_of_one_prompt_are_resampled_together() -> None:
    original = rows_of([RIGHT] * 60 + [WRONG] * 60)
    shifted = rows_of([RIGHT, WRONG] * 60)
    grouped = [replace(row, prompt=str(index // 6)) for index, row in enumerate(original)]
    alone, together = (
        drop([(original, shifted)]).loss.difference,
        drop([(grouped, shifted)]).loss.difference,
    )
    assert together.value == alone.value
    assert astuple(together) != astuple(alone)


def numbered(rewards: dict[int, float], prefix: str = "") -> list[ScoreRow]:
    return [ScoreRow(f"{prefix}{n}", (r,), (0.0,), data_row=n) for n, r in rewards.items()]


def test_records_that_one_file_lacks_are_left_out_by_their_row() -> None:
    """Rows 0, 3 and 4 are in all four files: of the first model a third lost, of the other none."""
    first = (
        numbered({0: RIGHT, 1: RIGHT, 3: RIGHT, 4: WRONG}),
        numbered({4: WRONG, 3: WRONG, 2: RIGHT, 0: RIGHT}, prefix="reworded-"),
    )
    second = (
        numbered({0: RIGHT, 1: WRONG, 2: RIGHT, 3: RIGHT, 4: RIGHT}),
        numbered({0: RIGHT, 2: WRONG, 3: RIGHT, 4: RIGHT}),
    )
    found = drop([first])
    assert (found.loss.n, found.left_out) == (3, 2)
    assert found.loss.difference.value == pytest.approx(1 / 3)
    both = drop([first, second])
    assert (both.loss.n, both.left_out) == (3, 2)
    assert both.loss.difference.value == pytest.approx(1 / 6)
    with pytest.raises(UserError, match="they have 1 and 1 rows"):
        drop([(numbered({0: RIGHT}), numbered({1: RIGHT}))])
    with pytest.raises(UserError, match="no record in common in all runs"):
        drop([(numbered({n: RIGHT}), numbered({n: RIGHT})) for n in (0, 1)])


def test_records_of_the_same_ids_correspond_wherever_they_are() -> None:
    """A set in another order that lacks record 1, with the numbers of its rows: 3 is lost."""
    original = rows_of([RIGHT, WRONG, RIGHT, RIGHT])
    rewritten = [ScoreRow(str(i), (r,), (0.0,)) for i, r in ((3, WRONG), (0, RIGHT), (2, RIGHT))]
    for rows in ([None] * 3, [0, 1, 2]):
        runs = (original, [replace(r, data_row=n) for r, n in zip(rewritten, rows, strict=True)])
        found = drop([runs])
        assert (found.loss.n, found.left_out) == (3, 1)
        assert found.loss.difference.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("shifted", "words"),
    [
        ([], "they have 2 and 0 rows"),
        ([ScoreRow("x", (1.0,), (0.0,), prompt="p")], "they have 2 and 1 rows"),
        (
            [ScoreRow("x", (1.0,), (0.0,), prompt="p"), ScoreRow("y", (1.0,), (0.0,), prompt="r")],
            r"row 2 \('b', 'y'\) has another prompt",
        ),
        (
            [ScoreRow("x", (1.0,), (0.0, 1.0)), ScoreRow("y", (1.0,), (0.0,))],
            r"row 1 \('a', 'x'\) has not the same number of responses",
        ),
    ],
)
def test_rows_that_do_not_correspond(shifted: list[ScoreRow], words: str) -> None:
    original = [
        ScoreRow("a", (1.0,), (0.0,), prompt="p"), ScoreRow("b", (1.0,), (0.0,), prompt="q")
    ]  # fmt: skip
    with pytest.raises(UserError, match=f"chat and french are not counterparts: .*{words}"):
        drop([(original, shifted)], ("chat", "french"))
