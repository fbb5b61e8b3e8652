"""Accuracy where style helps and where it misleads: RM-Bench's grids of styles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import FlatPairs, prompt_clusters
from rewardgap.evaluation.bootstrap import FloatArray, Interval, mean_interval
from rewardgap.evaluation.scores import ScoreRow


@dataclass(frozen=True)
class StyleAccuracies:
    """Accuracy of chosen responses against rejected ones by their styles.

    Attributes:
        easy: The rejected ones are plainer.
        normal: Both have the same style.
        hard: The rejected ones are more elaborate.
    """

    easy: Interval
    normal: Interval
    hard: Interval


def is_style_grid(rows: Sequence[ScoreRow]) -> bool:
    """Return whether all rows have as many chosen as rejected rewards, at least two."""
    return all(len(row.scores_chosen) == len(row.scores_rejected) >= 2 for row in rows)


def style_accuracies(
    *runs: Sequence[ScoreRow], name: str = "the scores", seed: int = 0
) -> StyleAccuracies:
    """Return easy, normal and hard accuracy of k × k grids of styles, as RM-Bench defines them.

    Args:
        runs: Rows of the same records by one or several runs, each with the rewards of k chosen and
            k rejected responses, both from the plainest style to the most elaborate: concise,
            detailed, detailed with markdown. Values are means over runs, intervals over both.
        name: How errors name the rows.
        seed: Of the resamples.

    Raises:
        UserError: A row is no square grid of two styles or more; names it.
    """
    if not all(runs):
        raise UserError(f"{name} has no rows")
    ordered = [sorted(rows, key=lambda row: row.id) for rows in runs]
    grids = [[_wins(row, name) for row in rows] for rows in ordered]
    clusters = prompt_clusters(ordered[0])

    def interval(accuracy: Callable[[FloatArray], float]) -> Interval:
        values = np.array([[accuracy(grid) for grid in by_record] for by_record in grids])
        return mean_interval(values[0] if len(runs) == 1 else values.T, clusters, seed)

    return StyleAccuracies(
        easy=interval(lambda grid: float(grid[np.tril_indices_from(grid, -1)].mean())),
        normal=interval(lambda grid: float(grid.diagonal().mean())),
        hard=interval(lambda grid: float(grid[np.triu_indices_from(grid, 1)].mean())),
    )


def _wins(row: ScoreRow, name: str) -> FloatArray:
    """Return 1 where the chosen response wins, ½ for a tie, else 0; shape (chosen, rejected)."""
    chosen, rejected = map(len, row.scores)
    if not chosen == rejected >= 2:
        raise UserError(
            f"{name}: record {row.id!r} has {chosen} chosen and {rejected} rejected "
            "rewards; style accuracies need as many of both, at least two, in one order of styles"
        )
    return (0.5 + 0.5 * FlatPairs.of([row.scores]).order).reshape(chosen, rejected)
