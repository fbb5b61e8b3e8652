"""What a shift costs: the records of an evaluation set and their counterparts, reworded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import FlatPairs, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.comparisons import Comparison, compare_gains
from rewardgap.evaluation.scores import ScoreRow

Counterparts = tuple[Sequence[ScoreRow], Sequence[ScoreRow]]
"""A model's rows of an original set and of a perturbed one, whose row i perturbs row i."""


@dataclass(frozen=True)
class Drop:
    """What a shift costs, paired by record.

    Attributes:
        loss: The accuracy on the original set compared with that on the perturbed one; its
            `difference` is what the shift costs.
        flip_rate: Share of chosen x rejected pairs that are ranked rightly in one of the sets and
            wrongly in the other; between a tie and either of these it is half a flip. A shift can
            flip many pairs, in both directions, and cost no accuracy.
    """

    loss: Comparison
    flip_rate: Interval


def drop(
    runs: Sequence[Counterparts],
    names: tuple[str, str] = ("the original scores", "the perturbed scores"),
    seed: int = 0,
) -> Drop:
    """Compare the scores that models give to a set with those of the perturbed counterparts.

    Args:
        runs: The rows of each model, at least one; those of every model in the same order.
        names: How errors name the two sets.
        seed: Of the resamples.

    Raises:
        UserError: The rows do not correspond; names the sets and the first row that does not.
    """
    losses, flips = [], []
    for original, perturbed in runs:
        _check_counterparts(original, perturbed, names)
        before, after = ([row.scores for row in rows] for rows in (original, perturbed))
        losses.append(record_accuracies(before) - record_accuracies(after))
        pairs = FlatPairs.of(before)
        changes = np.abs(pairs.order - FlatPairs.of(after).order) / 2
        flips.append(pairs.mean_by_record(changes))
    clusters = prompt_clusters(runs[0][0])
    return Drop(
        loss=compare_gains(np.stack(losses, axis=1), clusters, seed),
        flip_rate=mean_interval(np.stack(flips, axis=1), clusters, seed),
    )


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
        if list(map(len, row.scores)) != list(map(len, counterpart.scores)):
            raise UserError(f"{where} has not the same number of responses in both")
