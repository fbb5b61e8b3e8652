"""Win-rates by the paper's rule and by tests, on cells chosen by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.evaluation.win_rates import WinRates, win_rates
from rewardgap.evaluation.win_rates import (
    tested_win_rates as rates_by_test,  # no test, though so named
)

cells = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2)),
    st.tuples(*[st.integers(0, 200).map(lambda right: right / 200)] * 2),
    min_size=1,
)


def rows(right: int, total: int = 40) -> list[ScoreRow]:
    return [ScoreRow(str(i), (float(i < right),), (0.5,)) for i in range(total)]


def test_a_difference_of_one_percent_is_a_tie() -> None:
    """0.81 - 0.80 is 0.010000000000000009 as floats; a hundredth exactly is no win (section 3)."""
    first = {("a", 0): 0.81, ("a", 1): 0.815, ("b", 0): 0.5, ("b", 1): 0.9}
    second = {("a", 0): 0.80, ("a", 1): 0.80, ("b", 0): 0.6, ("b", 1): 0.9}
    assert win_rates(first, second) == WinRates(25.0, 50.0, 25.0, 4)
    assert win_rates(first, second, tie=0.0) == WinRates(50.0, 25.0, 25.0, 4)


@given(cells)
def test_rates_mirror_each_other_and_make_a_hundred(pairs: dict) -> None:
    first = {cell: pair[0] for cell, pair in pairs.items()}
    second = {cell: pair[1] for cell, pair in pairs.items()}
    there, back = win_rates(first, second), win_rates(second, first)
    assert (there.first, there.tie, there.second) == (back.second, back.tie, back.first)
    assert there.first + there.tie + there.second == pytest.approx(100)
    assert there.cells == len(pairs)


def test_only_cells_of_both_kinds_count() -> None:
    found = win_rates({("a", 0): 1.0, ("a", 1): 0.0}, {("a", 0): 0.0, ("b", 1): 1.0})
    assert found == WinRates(100.0, 0.0, 0.0, 1)
    with pytest.raises(UserError, match="no model and seed"):
        win_rates({("a", 0): 1.0}, {("b", 0): 1.0})
    with pytest.raises(UserError, match="no model and seed"):
        rates_by_test({}, {})


def test_a_tested_win_needs_a_difference_beyond_chance() -> None:
    """Of 40 records 9 more right: p 2/2⁹ = 0.0039; 5 more: p 0.0625, a tie though 12 percent."""
    first = {("a", 0): rows(39), ("a", 1): rows(35), ("b", 0): rows(10)}
    second = {("a", 0): rows(30), ("a", 1): rows(30), ("b", 0): rows(40)}
    found = rates_by_test(first, second)
    assert found == WinRates(100 / 3, 100 / 3, 100 / 3, 3)


def test_holm_makes_a_win_among_many_cells_harder() -> None:
    """6 more right: p 0.031 alone, and 0.125 as the smallest of four."""
    first, second = rows(36), rows(30)
    assert rates_by_test({("a", 0): first}, {("a", 0): second}).first == 100
    four = [("a", seed) for seed in range(4)]
    assert rates_by_test(dict.fromkeys(four, first), dict.fromkeys(four, second)).first == 0


def test_different_records_are_named_with_their_cell() -> None:
    with pytest.raises(UserError, match=r"first scores of a, seed 7 .* cannot be compared"):
        rates_by_test({("a", 7): rows(3)}, {("a", 7): rows(3, total=50)})
