"""Paired comparisons of score files that rate the same records."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from rewardgap.errors import UserError
from rewardgap.metrics import Interval, bootstrap_means, mean_interval, record_accuracies
from rewardgap.scores import ScoreRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Accuracy of one score file against another on the same records.

    Attributes:
        n: Number of records.
        wins: Number of records on which the first file is more accurate.
        losses: Number of records on which the second is.
        difference: First accuracy minus second, with a 95 % interval over records.
        mcnemar_p: Two-sided p-value of McNemar's exact test.
        holm_p: `mcnemar_p` adjusted for all the comparisons made together.
    """

    n: int
    wins: int
    losses: int
    difference: Interval
    mcnemar_p: float
    holm_p: float

    def reversed(self) -> "Comparison":
        """The same comparison seen from the second file."""
        return replace(self, wins=self.losses, losses=self.wins, difference=-self.difference)

    def to_json(self) -> dict[str, Any]:
        """The part that `rewardgap metrics --json` prints."""
        return {
            "difference": asdict(self.difference),
            "mcnemar_p": self.mcnemar_p,
            "holm_p": self.holm_p,
        }


def compare(
    first: Sequence[ScoreRow],
    second: Sequence[ScoreRow],
    names: tuple[str, str] = ("the first scores", "the second scores"),
    seed: int = 0,
) -> Comparison:
    """Paired difference in accuracy between two sets of scores of the same records, in any order.

    McNemar's test counts the records on which one is more accurate than the other: for pairs
    without ties these are the discordant ones. A tie (one half) is more accurate than wrong
    and less than right, a record of several responses is compared by its mean accuracy, and
    records of equal accuracy do not count, so that in general this is the exact sign test.

    Raises:
        UserError: If the ids differ; names the two files and how many ids only one of them has.
    """
    if mismatch := count_unshared(first, second):
        raise UserError(
            f"{names[0]} and {names[1]} cannot be compared: {mismatch} ids are in only one of "
            "them; score both models on the same data"
        )
    position = {row.id: index for index, row in enumerate(second)}
    aligned = [second[position[row.id]] for row in first]
    gain = record_accuracies([row.scores for row in first])
    gain = gain - record_accuracies([row.scores for row in aligned])
    resampled = bootstrap_means(gain[:, None], seed)[:, 0]
    wins, losses = int(np.sum(gain > 0)), int(np.sum(gain < 0))
    p_value = mcnemar(wins, losses)
    difference = mean_interval(gain, resampled, support=(-1.0, 1.0))
    return Comparison(len(gain), wins, losses, difference, p_value, p_value)


def count_unshared(first: Sequence[ScoreRow], second: Sequence[ScoreRow]) -> int:
    """Number of ids that only one of the two sets of scores has."""
    return len({row.id for row in first} ^ {row.id for row in second})


def compare_all(
    files: Mapping[str, Sequence[ScoreRow]], seed: int = 0
) -> dict[tuple[str, str], Comparison]:
    """Compare every two files that have the same ids, with Holm's correction over all of them.

    Files of other ids (another evaluation set) are not compared, with a warning where they share
    some; fewer than two files give nothing.
    """
    comparisons: dict[tuple[str, str], Comparison] = {}
    for a, b in combinations(files, 2):
        unshared = count_unshared(files[a], files[b])
        if not unshared:
            comparisons[a, b] = compare(files[a], files[b], (a, b), seed)
        elif unshared < len(files[a]) + len(files[b]):
            logger.warning("%s and %s are not compared: %d ids are in only one", a, b, unshared)
    adjusted = holm([comparison.mcnemar_p for comparison in comparisons.values()])
    return {
        names: replace(comparison, holm_p=p_value)
        for (names, comparison), p_value in zip(comparisons.items(), adjusted, strict=True)
    }


# SciPy's and statsmodels' tests take seconds to import, which a single file need not pay.


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of McNemar's exact test; 1 where no record is discordant."""
    from scipy.stats import binomtest

    discordant = wins + losses
    return float(binomtest(wins, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method, in the given order."""
    if len(p_values) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    return [float(p_value) for p_value in multipletests(p_values, method="holm")[1]]
