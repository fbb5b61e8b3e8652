"""What a shift costs: the records of an evaluation set and their counterparts, reworded."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import FlatPairs, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.comparisons import Comparison, compare_gains
from rewardgap.evaluation.scores import ScoreRow

Counterparts = tuple[Sequence[ScoreRow], Sequence[ScoreRow]]
"""A model's rows of an original set and of a perturbed one, whose row i perturbs row i.

A row is known by its id where all ids of one set are in the other, else by its `data_row`, so that
either file may lack some; without it, by its place.
"""

Known = Mapping[int | str, ScoreRow]
"""Rows by their ids or their numbers."""


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
    originals, counterparts = ({row.id for run in runs for row in run[side]} for side in (0, 1))
    by_id = are_known_by_ids(originals, counterparts)
    numbered = by_id or all(row.data_row is not None for row in rows)
    files = [
        (_by_key(before, by_id, numbered), _by_key(after, by_id, numbered))
        for before, after in runs
    ]
    matches = [_match(*run, names, numbered) for run in files]
    shared = [key for key in matches[0] if all(key in match for match in matches)]
    if not shared:
        raise UserError(f"{names[0]} and {names[1]} have no record in common in all runs")
    losses, flips = [], []
    for match in matches:
        before, after = ([match[key][side].scores for key in shared] for side in (0, 1))
        losses.append(record_accuracies(before) - record_accuracies(after))
        pairs = FlatPairs.of(before)
        changes = np.abs(pairs.order - FlatPairs.of(after).order) / 2
        flips.append(pairs.mean_by_record(changes))
    clusters = prompt_clusters([matches[0][key][0] for key in shared])
    known = {key for run in files for file in run for key in file}
    return Drop(
        loss=compare_gains(np.stack(losses, axis=1), clusters, seed),
        flip_rate=mean_interval(np.stack(flips, axis=1), clusters, seed),
        left_out=len(known) - len(shared),
    )


def _match(
    before: Known, after: Known, names: tuple[str, str], may_lack: bool
) -> dict[int | str, tuple[ScoreRow, ScoreRow]]:
    """Return the rows that both files have, by key; refuse files that do not correspond."""
    title = f"{names[0]} and {names[1]} are not counterparts"
    matched = {key: (before[key], after[key]) for key in before if key in after}
    if not matched or not (may_lack or len(before) == len(after)):
        raise UserError(f"{title}: they have {len(before)} and {len(after)} rows")
    for key, (row, counterpart) in matched.items():
        place = f"row {key + 1}" if isinstance(key, int) else "the record"
        where = f"{title}: {place} ({row.id!r}, {counterpart.id!r})"
        if row.prompt and counterpart.prompt and row.prompt != counterpart.prompt:
            raise UserError(f"{where} has another prompt")
        if list(map(len, row.scores)) != list(map(len, counterpart.scores)):
            raise UserError(f"{where} has not the same number of responses in both")
    return matched


def are_known_by_ids(originals: Set[str], counterparts: Set[str]) -> bool:
    """Return whether ids tell which records correspond: all of one set are in the other.

    A set of counterparts that lacks records, as of a rewriting that failed, has other row numbers.
    """
    return originals <= counterparts or counterparts <= originals


def _by_key(rows: Sequence[ScoreRow], by_id: bool, numbered: bool) -> dict[int | str, ScoreRow]:
    """Return rows by ids, by their numbers in the data, or by their places."""
    if by_id:
        return {row.id: row for row in rows}
    if numbered:
        return {row.data_row: row for row in rows if row.data_row is not None}
    return dict(enumerate(rows))
