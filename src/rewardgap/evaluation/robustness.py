"""What a shift costs: the records of an evaluation set and their counterparts, reworded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import FlatPairs, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.comparisons import Comparison, compare_gains
from rewardgap.evaluation.scores import ScoreRow

Counterparts = tuple[Sequence[ScoreRow], Sequence[ScoreRow]]
"""A model's rows of an original set and of a perturbed one, whose row i perturbs row i.

A row is known by its `data_row`, so that either file may lack some; without it, by its place.
"""

Numbered = Mapping[int, ScoreRow]
"""Rows by their numbers."""


@dataclass(frozen=True)
class Drop:
    """What a shift costs, paired by record.

    Attributes:
        loss: The accuracy on the original set compared with that on the perturbed one; its
            `difference` is what the shift costs.
        flip_rate: Share of chosen x rejected pairs that are ranked rightly in one of the sets and
            wrongly in the other; between a tie and either of these it is half a flip. A shift can
            flip many pairs, in both directions, and cost no accuracy.
        left_out: Number of records that a file lacks, such as dropped ones: they are not compared.
    """

    loss: Comparison
    flip_rate: Interval
    left_out: int = 0


def drop(
    runs: Sequence[Counterparts],
    names: tuple[str, str] = ("the original scores", "the perturbed scores"),
    seed: int = 0,
) -> Drop:
    """Compare the scores that models give to a set with those of the perturbed counterparts.

    Args:
        runs: The rows of each model, at least one.
        names: How errors name the two sets.
        seed: Of the resamples.

    Raises:
        UserError: The rows do not correspond; names the sets and the first row that does not.
    """
    rows = [row for run in runs for file in run for row in file]
    numbered = all(row.data_row is not None for row in rows)
    files = [(_by_number(before, numbered), _by_number(after, numbered)) for before, after in runs]
    matches = [_match(*run, names, numbered) for run in files]
    shared = [number for number in matches[0] if all(number in match for match in matches)]
    if not shared:
        raise UserError(f"{names[0]} and {names[1]} have no record in common in all runs")
    losses, flips = [], []
    for match in matches:
        before, after = ([match[n][side].scores for n in shared] for side in (0, 1))
        losses.append(record_accuracies(before) - record_accuracies(after))
        pairs = FlatPairs.of(before)
        changes = np.abs(pairs.order - FlatPairs.of(after).order) / 2
        flips.append(pairs.mean_by_record(changes))
    clusters = prompt_clusters([matches[0][number][0] for number in shared])
    known = {number for run in files for file in run for number in file}
    return Drop(
        loss=compare_gains(np.stack(losses, axis=1), clusters, seed),
        flip_rate=mean_interval(np.stack(flips, axis=1), clusters, seed),
        left_out=len(known) - len(shared),
    )


def _match(
    before: Numbered, after: Numbered, names: tuple[str, str], may_lack: bool
) -> dict[int, tuple[ScoreRow, ScoreRow]]:
    """Return the rows that both files have, by number; refuse files that do not correspond."""
    title = f"{names[0]} and {names[1]} are not counterparts"
    matched = {number: (before[number], after[number]) for number in before if number in after}
    if not matched or not (may_lack or len(before) == len(after)):
        raise UserError(f"{title}: they have {len(before)} and {len(after)} rows")
    for number, (row, counterpart) in matched.items():
        where = f"{title}: row {number + 1} ({row.id!r}, {counterpart.id!r})"
        if row.prompt and counterpart.prompt and row.prompt != counterpart.prompt:
            raise UserError(f"{where} has another prompt")
        if list(map(len, row.scores)) != list(map(len, counterpart.scores)):
            raise UserError(f"{where} has not the same number of responses in both")
    return matched


def _by_number(rows: Sequence[ScoreRow], numbered: bool) -> dict[int, ScoreRow]:
    """Return rows by their numbers in the data, or by their places where files do not say."""
    if numbered:
        return {row.data_row: row for row in rows if row.data_row is not None}
    return dict(enumerate(rows))
