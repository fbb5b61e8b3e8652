"""What an experiment's scores say, with intervals and tests.

Kinds stand against each other, against content-blind rules, and against themselves on reworded
responses; within a kind, models from different initial models and under different settings do.
Intervals are over records (those of a prompt together) and over runs; tests are over prompts.
P-values are adjusted for all comparisons of one sort in the experiment.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import (
    baseline_rewards,
    prompt_clusters,
    record_accuracies,
)
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.comparisons import (
    Comparison,
    Pair,
    Place,
    adjust,
    compare_gains,
    indistinguishable,
    is_difference,
)
from rewardgap.evaluation.robustness import Drop, drop_of_runs
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.evaluation.styles import StyleAccuracies, is_style_grid, style_accuracies
from rewardgap.evaluation.summary import Summary, summarise_seeds
from rewardgap.evaluation.win_rates import WinRates, tested_win_rates
from rewardgap.io.grid_folder import Cell
from rewardgap.reporting.answers import Answers, compare_answers
from rewardgap.reporting.results import Measured, Rows

SetAndKind = tuple[str, str]
RowsOf = Mapping[Cell, Rows]
Run = TypeVar("Run")
"""What runs that are compared share, such as a model and a seed."""


@dataclass(frozen=True)
class Analysis:
    """The statistics of one experiment.

    A subject is an initial model, under other settings than the experiment's own where it varies.

    Attributes:
        overall: By set and kind the figures of all models together.
        by_subject: By set, subject and kind those of the seeds of one model.
        kinds: By set every two kinds' difference in accuracy, over all runs that both have.
        blind: By set the difference between a kind and a content-blind rule, as (kind, rule).
        groups: By set the kinds of which no two are separated.
        subjects: By set and kind every two subjects' difference, over the seeds that both have.
        subject_groups: By set and kind the subjects of which no two are separated.
        tested: By set and two kinds the win rates in which a tie is what a test does not separate.
        drops: By reworded set and kind what the rewording costs.
        not_shifts: By set that is planned as a rewording and is none, why.
        styles: By set of style grids and kind easy, normal and hard accuracy.
        answers: By set and kind what the models generate themselves, run by run.
    """

    overall: Mapping[str, Mapping[str, Summary]]
    by_subject: Mapping[str, Mapping[Pair, Summary]]
    kinds: Mapping[str, Mapping[Pair, Comparison]]
    blind: Mapping[str, Mapping[Pair, Comparison]]
    groups: Mapping[str, Sequence[tuple[str, ...]]]
    subjects: Mapping[SetAndKind, Mapping[Pair, Comparison]]
    subject_groups: Mapping[SetAndKind, Sequence[tuple[str, ...]]]
    tested: Mapping[str, Mapping[Pair, WinRates]]
    drops: Mapping[str, Mapping[str, Drop]]
    not_shifts: Mapping[str, str]
    styles: Mapping[str, Mapping[str, StyleAccuracies]]
    answers: Mapping[SetAndKind, Sequence[Answers]]


def analyse(measured: Measured) -> Analysis:
    """Compute the statistics of an experiment; a set or kind without scores is left out."""
    # In the order in which score files are compared everywhere: the same resamples, the same bits.
    everything = {
        name: {cell: sorted(rows, key=_by_id) for cell, rows in measured.rows[name].items()}
        for name in measured.sets
    }
    main = {
        name: {cell: everything[name][cell] for cell in main_cells(measured, name)}
        for name in measured.sets
    }
    kinds = _adjusted({name: _between_kinds(some) for name, some in main.items()})
    subjects = _adjusted(dict(_between_subjects(everything)))
    drops, not_shifts = _drops(measured)
    return Analysis(
        overall={name: _overall(some) for name, some in main.items()},
        by_subject={name: _by_subject(measured.rows[name]) for name in main},
        kinds=kinds,
        blind=_adjusted({name: _against_rules(some) for name, some in main.items()}),
        groups={
            name: indistinguishable(list(_by_kind(main[name])), some, is_difference)
            for name, some in kinds.items()
        },
        subjects=subjects,
        subject_groups={
            place: indistinguishable(
                list(dict.fromkeys(name for pair in some for name in pair)), some, is_difference
            )
            for place, some in subjects.items()
        },
        tested={name: _tested(some) for name, some in main.items()},
        drops=drops,
        not_shifts=not_shifts,
        styles={name: some for name in main if (some := _styles(main[name]))},
        answers=compare_answers(measured.generations),
    )


def _by_id(row: ScoreRow) -> str:
    return row.id


def main_cells(measured: Measured, name: str) -> list[Cell]:
    """The measured cells of a set that stand for the experiment: those that do not vary, if any."""
    cells = list(measured.rows[name])
    return [cell for cell in cells if not cell.variation] or cells


def _by_kind(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.kind, []).append(cell)
    return found


def _overall(rows: Mapping[Cell, Rows]) -> dict[str, Summary]:
    return {
        kind: summarise_seeds([rows[cell] for cell in cells])
        for kind, cells in _by_kind(rows).items()
    }


def _styles(rows: Mapping[Cell, Rows]) -> dict[str, StyleAccuracies]:
    """The accuracies of every kind; nothing where the records are no grids of styles."""
    if not all(map(is_style_grid, rows.values())):
        return {}
    return {
        kind: style_accuracies(*(rows[cell] for cell in cells))
        for kind, cells in _by_kind(rows).items()
    }


def _by_subject(rows: Mapping[Cell, Rows]) -> dict[Pair, Summary]:
    runs: dict[Pair, list[Rows]] = {}
    for cell in rows:
        runs.setdefault((cell.subject, cell.kind), []).append(rows[cell])
    return {key: summarise_seeds(some) for key, some in runs.items()}


def _between_kinds(rows: Mapping[Cell, Rows]) -> dict[Pair, Comparison]:
    """Every two kinds, over the models and seeds that both have; none where they share none."""
    runs = {
        kind: {(cell.subject, cell.seed): _accuracies(rows[cell]) for cell in cells}
        for kind, cells in _by_kind(rows).items()
    }
    return _between(runs, rows)


def _between_subjects(
    everything: Mapping[str, RowsOf],
) -> Iterator[tuple[SetAndKind, dict[Pair, Comparison]]]:
    """Every two initial models and settings of a kind, over the seeds that both have."""
    for name, rows in everything.items():
        for kind, cells in _by_kind(rows).items():
            runs: dict[str, dict[int, FloatArray]] = {}
            for cell in cells:
                runs.setdefault(cell.subject, {})[cell.seed] = _accuracies(rows[cell])
            if found := _between(runs, rows):
                yield (name, kind), found


def _between(runs: Mapping[str, Mapping[Run, FloatArray]], rows: RowsOf) -> dict[Pair, Comparison]:
    """Every two names, over the runs of the same key; none where they share none."""
    found: dict[Pair, Comparison] = {}
    for first, second in combinations(runs, 2):
        gains = [
            values - runs[second][key] for key, values in runs[first].items() if key in runs[second]
        ]
        if gains:
            found[first, second] = _compare(gains, rows)
    return found


def _against_rules(rows: Mapping[Cell, Rows]) -> dict[Pair, Comparison]:
    """Every kind against every content-blind rule, over the kind's runs."""
    found: dict[Pair, Comparison] = {}
    for kind, cells in _by_kind(rows).items():
        rules = {cell: baseline_rewards(rows[cell]) for cell in cells}
        for rule in rules[cells[0]]:
            if all(rule in each for each in rules.values()):
                gains = [
                    _accuracies(rows[cell]) - record_accuracies(rules[cell][rule]) for cell in cells
                ]
                found[kind, rule] = _compare(gains, rows)
    return found


def _accuracies(rows: Rows) -> FloatArray:
    return record_accuracies([row.scores for row in rows])


def _compare(runs: Sequence[FloatArray], rows: RowsOf) -> Comparison:
    """The mean of each run's gains in accuracy, shape (records,); see `compare_gains`."""
    return compare_gains(np.stack(runs, axis=1), prompt_clusters(next(iter(rows.values()))))


def _adjusted(
    found: Mapping[Place, Mapping[Pair, Comparison]],
) -> dict[Place, dict[Pair, Comparison]]:
    """The comparisons with p-values adjusted for all of them, on all sets."""
    family = adjust(
        {(place, pair): each for place, some in found.items() for pair, each in some.items()}
    )
    return {place: {pair: family[place, pair] for pair in some} for place, some in found.items()}


def _tested(rows: Mapping[Cell, Rows]) -> dict[Pair, WinRates]:
    """The tested win rates of every two kinds that share a model and a seed."""
    runs = {
        kind: {(cell.subject, cell.seed): rows[cell] for cell in cells}
        for kind, cells in _by_kind(rows).items()
    }
    return {
        (first, second): tested_win_rates(runs[first], runs[second])
        for first, second in combinations(runs, 2)
        if runs[first].keys() & runs[second].keys()
    }


def _drops(measured: Measured) -> tuple[dict[str, dict[str, Drop]], dict[str, str]]:
    """What rewording costs each kind, by set; and the sets that are no rewordings, with reasons."""
    found: dict[str, dict[str, Drop]] = {}
    not_shifts: dict[str, str] = {}
    for each in measured.experiment.sets:
        if each.name in measured.sets and each.shift_of in measured.sets:
            try:
                found[each.name] = _drops_of(measured, each.shift_of, each.name)
            except UserError as error:
                not_shifts[each.name] = str(error)
    losses = {
        (name, kind): each.loss for name, some in found.items() for kind, each in some.items()
    }
    family = adjust(losses)
    return {
        name: {kind: replace(each, loss=family[name, kind]) for kind, each in some.items()}
        for name, some in found.items()
    }, not_shifts


def _drops_of(measured: Measured, original: str, reworded: str) -> dict[str, Drop]:
    """What rewording a set costs each kind, over its runs that were measured on both sets."""
    before, after = measured.rows[original], measured.rows[reworded]
    cells = [cell for cell in main_cells(measured, reworded) if cell in before]
    return {
        kind: drop_of_runs([(before[cell], after[cell]) for cell in some], (original, reworded))
        for kind, some in _by_kind(cells).items()
    }
