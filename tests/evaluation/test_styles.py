"""Easy, normal and hard accuracies of RM-Bench's grids, by hand and by plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.errors import UserError
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.evaluation.styles import is_style_grid, style_accuracies

side = st.tuples(*[st.integers(0, 3).map(float)] * 3)
grids = st.lists(st.tuples(side, side), min_size=1, max_size=6)


def rows_of(rewards: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> list[ScoreRow]:
    return [ScoreRow(str(i), chosen, rejected) for i, (chosen, rejected) in enumerate(rewards)]


def test_a_model_that_rewards_style_alone() -> None:
    """Always right where the chosen response is more elaborate, wrong where the other one is."""
    found = style_accuracies(rows_of([((0.0, 1.0, 2.0), (0.0, 1.0, 2.0))] * 5))
    assert (found.easy.value, found.normal.value, found.hard.value) == (1.0, 0.5, 0.0)


def test_one_grid_by_hand() -> None:
    """Chosen 2 5 1 against rejected 3 0 1, rows are the chosen response's style:

    2: lose to 3, beat 0, beat 1; 5: beat all; 1: lose to 3, beat 0, tie with 1.
    Hard (2 > 0, 2 > 1, 5 > 1) 1; normal (0, 1, 1/2) 1/2; easy (5 > 3, 1 < 3, 1 > 0).
    """
    found = style_accuracies(rows_of([((2.0, 5.0, 1.0), (3.0, 0.0, 1.0))]))
    assert (found.hard.value, found.normal.value) == (1.0, 0.5)
    assert found.easy.value == pytest.approx(2 / 3)


@settings(deadline=None)
@given(grids)
def test_as_plain_loops_over_the_grid(
    rewards: list[tuple[tuple[float, ...], tuple[float, ...]]],
) -> None:
    places: dict[str, list[float]] = {"easy": [], "normal": [], "hard": []}
    for chosen, rejected in rewards:
        for i, c in enumerate(chosen):
            for j, r in enumerate(rejected):
                name = "easy" if i > j else "hard" if i < j else "normal"
                places[name].append(1.0 if c > r else 0.5 if c == r else 0.0)
    rows = rows_of(rewards)
    found = style_accuracies(rows)
    assert found.easy.value == pytest.approx(np.mean(places["easy"]))
    assert found.normal.value == pytest.approx(np.mean(places["normal"]))
    assert found.hard.value == pytest.approx(np.mean(places["hard"]))
    # All three kinds of comparison are equally many, and together they are all.
    total = (found.easy.value + found.normal.value + found.hard.value) / 3
    assert total == pytest.approx(summarise(rows).accuracy.value)
    assert style_accuracies(rows[::-1]) == found


@pytest.mark.parametrize(
    ("chosen", "rejected"), [((1.0,), (0.0,)), ((1.0, 2.0), (0.0,)), ((1.0, 2.0), (0.0, 1.0, 2.0))]
)
def test_a_row_that_is_no_grid_is_named(
    chosen: tuple[float, ...], rejected: tuple[float, ...]
) -> None:
    rows = [*rows_of([((0.0, 1.0), (0.0, 1.0))]), ScoreRow("odd", chosen, rejected)]
    words = f"chat.jsonl: record 'odd' has {len(chosen)} chosen and {len(rejected)} rejected"
    with pytest.raises(UserError, match=words):
        style_accuracies(rows, name="chat.jsonl")


def test_several_runs_are_averaged_and_differ() -> None:
    right = rows_of([((1.0, 2.0), (0.0, 0.0))] * 8)
    wrong = rows_of([((0.0, 0.0), (1.0, 2.0))] * 8)
    found = style_accuracies(right, wrong)
    for each in (found.easy, found.normal, found.hard):
        assert each.value == 0.5 and each.low < 0.4 and each.high > 0.6
    assert style_accuracies(right, right).hard.value == 1.0


def test_what_may_be_a_grid() -> None:
    assert is_style_grid(rows_of([((0.0, 1.0), (0.0, 1.0))]))
    assert not is_style_grid(rows_of([((0.0,), (1.0,))]))
    assert not is_style_grid(rows_of([((0.0, 1.0), (0.0, 1.0)), ((0.0, 1.0), (0.0,))]))


def test_no_rows() -> None:
    with pytest.raises(UserError, match="has no rows"):
        style_accuracies([])
