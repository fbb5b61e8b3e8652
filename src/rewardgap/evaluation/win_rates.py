"""How often one kind of reward model is more accurate than another, over models and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardgap.errors import UserError
from rewardgap.evaluation.comparisons import ROUNDING, adjust, compare, is_significant
from rewardgap.evaluation.scores import ScoreRow

ModelAndSeed = tuple[str, int]
"""Initial language model and seed: only models that share both are compared."""


@dataclass(frozen=True)
class WinRates:
    """Share of the cells that each of two kinds wins, in percent.

    Attributes:
        first: Cells in which the first kind is more accurate.
        tie: Cells in which neither is.
        second: Cells in which the second kind is.
        cells: Number of cells, of which the percentages are.
    """

    first: float
    tie: float
    second: float
    cells: int


def win_rates(
    first: Mapping[ModelAndSeed, float], second: Mapping[ModelAndSeed, float], tie: float = 0.01
) -> WinRates:
    """Return win rates by the paper's rule (section 3): accuracies within 0.01 are a tie.

    Args:
        first: Accuracy of the first kind in each cell.
        second: Accuracy of the second; cells that only one of the two has do not count.
        tie: Largest difference that is a tie, itself included.

    Raises:
        UserError: No cell is in both.
    """
    return _shares([first[cell] - second[cell] for cell in first if cell in second], tie)


def tested_win_rates(
    first: Mapping[ModelAndSeed, Sequence[ScoreRow]],
    second: Mapping[ModelAndSeed, Sequence[ScoreRow]],
) -> WinRates:
    """Return win rates in which a difference that McNemar's test does not establish is a tie.

    P-values are adjusted by Holm's method. The arguments are as in `win_rates`, with score rows for
    one evaluation set in place of accuracies.

    Raises:
        UserError: No cell is in both, or one has scores of different records.
    """
    comparisons = {}
    for cell in (cell for cell in first if cell in second):
        names = f"the first scores of {cell[0]}, seed {cell[1]}", "the second ones"
        comparisons[cell] = compare(first[cell], second[cell], names)
    return _shares(
        [
            comparison.difference.value if is_significant(comparison) else 0.0
            for comparison in adjust(comparisons, "mcnemar_p").values()
        ]
    )


def _shares(differences: Sequence[float], tie: float = 0.0) -> WinRates:
    if not differences:
        raise UserError("there are no win-rates: no model and seed has scores of both kinds")
    cells = len(differences)
    wins = sum(difference > tie + ROUNDING for difference in differences)
    losses = sum(difference < -tie - ROUNDING for difference in differences)
    first, tied, second = (100 * n / cells for n in (wins, cells - wins - losses, losses))
    return WinRates(first, tied, second, cells)
