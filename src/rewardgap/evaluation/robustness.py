"""From an evaluation set to its shifted twin: the same records, reworded or translated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import Interval, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import FloatArray, mean_interval
from rewardgap.evaluation.comparisons import Comparison, compare_gains
from rewardgap.evaluation.scores import RecordRewards, ScoreRow

Twins = tuple[Sequence[ScoreRow], Sequence[ScoreRow]]
"""A model's rows of a set and of its shifted twin, whose row i rewords row i of the original."""


@dataclass(frozen=True)
class Drop:
    """What a shift costs, paired by record.

    Attributes:
        loss: The accuracy on the original set compared with that on the shifted one.
        flip_rate: Share of chosen x rejected pairs that are ranked rightly in one of the sets and
            wrongly in the other; between a tie and either of these it is half a flip. A shift can
            turn many verdicts, in both directions, and cost no accuracy.
    """

    loss: Comparison
    flip_rate: Interval

    @property
    def n(self) -> int:
        """Number of records."""
        return self.loss.n

    @property
    def drop(self) -> Interval:
        """Accuracy on the original set minus accuracy on the shifted one."""
        return self.loss.difference


def drop(
    original: Sequence[ScoreRow],
    shifted: Sequence[ScoreRow],
    names: tuple[str, str] = ("the original scores", "the shifted scores"),
    seed: int = 0,
) -> Drop:
    """The drop of one model, see `drop_of_runs`."""
    return drop_of_runs([(original, shifted)], names, seed)


def drop_of_runs(runs: Sequence[Twins], names: tuple[str, str], seed: int = 0) -> Drop:
    """Compare the scores that models give to a set with those that they give to its shifted twin.

    Args:
        runs: The rows of each model, at least one; those of every model in the same order.
        names: How errors name the two sets.
        seed: Of the resamples.

    Raises:
        UserError: If the rows do not correspond; names the sets and the first row that does not.
    """
    for original, shifted in runs:
        _check_twins(original, shifted, names)
    clusters = prompt_clusters(runs[0][0])
    losses, flips = zip(*(_changes(*pair) for pair in runs), strict=True)
    return Drop(
        loss=compare_gains(np.stack(losses, axis=1), clusters, seed),
        flip_rate=mean_interval(np.stack(flips, axis=1), clusters, seed),
    )


def _changes(
    original: Sequence[ScoreRow], shifted: Sequence[ScoreRow]
) -> tuple[FloatArray, FloatArray]:
    """Accuracy that each record loses, and the share of its verdicts that turn, (records,) each."""
    before, after = ([row.scores for row in rows] for rows in (original, shifted))
    flips = np.array([_flipped(*pair) for pair in zip(before, after, strict=True)])
    return record_accuracies(before) - record_accuracies(after), flips


def _check_twins(
    original: Sequence[ScoreRow], shifted: Sequence[ScoreRow], names: tuple[str, str]
) -> None:
    title = f"{names[0]} and {names[1]} are not twins"
    if not original or len(original) != len(shifted):
        raise UserError(f"{title}: they have {len(original)} and {len(shifted)} rows")
    for number, (row, twin) in enumerate(zip(original, shifted, strict=True), start=1):
        if row.prompt and twin.prompt and row.prompt != twin.prompt:
            raise UserError(f"{title}: row {number} ({row.id!r}, {twin.id!r}) has another prompt")
        if [len(side) for side in row.scores] != [len(side) for side in twin.scores]:
            raise UserError(
                f"{title}: row {number} ({row.id!r}, {twin.id!r}) has not the same number of "
                "responses in both"
            )


def _flipped(before: RecordRewards, after: RecordRewards) -> float:
    """Mean change of the verdict over a record's chosen x rejected pairs, from 0 to 1."""
    verdicts = [
        np.array([(c > r) - (c < r) for c in chosen for r in rejected])
        for chosen, rejected in (before, after)
    ]
    return float(np.abs(verdicts[0] - verdicts[1]).mean() / 2)
