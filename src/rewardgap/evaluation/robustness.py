"""What a shift costs: the records of an evaluation set and their counterparts, reworded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import FloatArray, Interval, mean_interval
from rewardgap.evaluation.comparisons import Comparison, compare_gains
from rewardgap.evaluation.scores import RecordRewards, ScoreRow

Counterparts = tuple[Sequence[ScoreRow], Sequence[ScoreRow]]
"""A model's rows of an original set and of a perturbed one, whose row i perturbs row i."""


@dataclass(frozen=True)
class Drop:
    """What a shift costs, paired by record.

    Attributes:
        loss: The accuracy on the original set compared with that on the perturbed one.
        flip_rate: Share of chosen x rejected pairs that are ranked rightly in one of the sets and
            wrongly in the other; between a tie and either of these it is half a flip. A shift can
            flip many pairs, in both directions, and cost no accuracy.
    """

    loss: Comparison
    flip_rate: Interval

    @property
    def n(self) -> int:
        """Number of records."""
        return self.loss.n

    @property
    def drop(self) -> Interval:
        """Accuracy on the original set minus accuracy on the perturbed one."""
        return self.loss.difference


def drop(
    original: Sequence[ScoreRow],
    perturbed: Sequence[ScoreRow],
    names: tuple[str, str] = ("the original scores", "the perturbed scores"),
    seed: int = 0,
) -> Drop:
    """Return the drop of one model, see `drop_of_runs`."""
    return drop_of_runs([(original, perturbed)], names, seed)


def drop_of_runs(runs: Sequence[Counterparts], names: tuple[str, str], seed: int = 0) -> Drop:
    """Compare the scores that models give to a set with those of the perturbed counterparts.

    Args:
        runs: The rows of each model, at least one; those of every model in the same order.
        names: How errors name the two sets.
        seed: Of the resamples.

    Raises:
        UserError: The rows do not correspond; names the sets and the first row that does not.
    """
    for original, perturbed in runs:
        _check_counterparts(original, perturbed, names)
    clusters = prompt_clusters(runs[0][0])
    losses, flips = zip(*(_changes(*pair) for pair in runs), strict=True)
    return Drop(
        loss=compare_gains(np.stack(losses, axis=1), clusters, seed),
        flip_rate=mean_interval(np.stack(flips, axis=1), clusters, seed),
    )


def _changes(
    original: Sequence[ScoreRow], perturbed: Sequence[ScoreRow]
) -> tuple[FloatArray, FloatArray]:
    """Return each record's loss of accuracy and share of flipped pairs, shape (records,) each."""
    before, after = ([row.scores for row in rows] for rows in (original, perturbed))
    flips = np.array([_flip_rate(*pair) for pair in zip(before, after, strict=True)])
    return record_accuracies(before) - record_accuracies(after), flips


def _check_counterparts(
    original: Sequence[ScoreRow], perturbed: Sequence[ScoreRow], names: tuple[str, str]
) -> None:
    title = f"{names[0]} and {names[1]} are not counterparts"
    if not original or len(original) != len(perturbed):
        raise UserError(f"{title}: they have {len(original)} and {len(perturbed)} rows")
    for number, (row, counterpart) in enumerate(zip(original, perturbed, strict=True), start=1):
        where = f"{title}: row {number} ({row.id!r}, {counterpart.id!r})"
        if row.prompt and counterpart.prompt and row.prompt != counterpart.prompt:
            raise UserError(f"{where} has another prompt")
        if [len(side) for side in row.scores] != [len(side) for side in counterpart.scores]:
            raise UserError(f"{where} has not the same number of responses in both")


def _flip_rate(before: RecordRewards, after: RecordRewards) -> float:
    """Return the share of a record's chosen x rejected pairs that flip, from 0 to 1."""
    orders = [
        np.array([(c > r) - (c < r) for c in chosen for r in rejected])
        for chosen, rejected in (before, after)
    ]
    return float(np.abs(orders[0] - orders[1]).mean() / 2)
