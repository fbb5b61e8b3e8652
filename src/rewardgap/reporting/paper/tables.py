"""The paper's tables 1 to 10, and tables of the same layout for any other experiment."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt

from rewardgap.evaluation.win_rates import WinRates, win_rates
from rewardgap.reporting.paper import CELLS, Level, Printed, printed, printed_win_rates
from rewardgap.reporting.results import Measured, Point, Spread

Metric = Callable[[Point], float]
METRICS: Mapping[str, Metric] = {
    "accuracy": lambda point: point.accuracy,
    "margin": lambda point: point.margin,
}
TRAINING = {"chat": "UltraFeedback", "math": "RewardMATH"}
"""The experiments of tables 1 to 10, by what the paper trains on."""

OPPONENT = "implicit"
BLIND = "content-blind accuracy"
BASE = "the experiment's own"
"""Stands for the variation of cells that do not vary."""

SPREAD_NOTE = (
    "Means over models (and the evaluation sets of a category) ± the standard deviation of the "
    "seeds' means (divided by their number, as NumPy does by default)."
)
SPREAD_DIFFERENCE = (
    "Difference: ours less the paper's, in units of the root of the sum of the two squared "
    "deviations; of the only one, where one of the two is not known; and of the paper's largest "
    "deviation, where it prints no other."
)
WIN_NOTE = (
    "Percentages of the (model, seed) pairs in which one kind's accuracy exceeds the other's by "
    "more than 0.01; else it is a tie."
)
WIN_DIFFERENCE = (
    "Difference: ours less the paper's, in units of the root of the sum of the two binomial "
    "variances, with one success and one failure added to each count."
)
PARTIAL_NOTE = "† of an unfinished grid: some of the planned runs are not in the mean."


@dataclass(frozen=True)
class Entry:
    """One number of a table.

    Attributes:
        value: What was measured; None where nothing was.
        deviation: Its standard deviation over seeds, where there are several.
        paper: The paper's number, where it prints one.
        difference: Ours less the paper's, in standard deviations of the two combined.
        partial: Whether planned runs are missing in the value.
    """

    value: float | None = None
    deviation: float | None = None
    paper: Printed | None = None
    difference: float | None = None
    partial: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table: the group it stands in, its label, its numbers."""

    group: str
    label: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """A table of numbers.

    Attributes:
        name: Its file name without ending.
        title: What it shows.
        stubs: Headings of the group and of the label.
        columns: Headings of the numbers: (what, of which kind).
        rows: Its lines.
        decimals: Digits behind the point.
        notes: How its numbers were made.
        experiment: Name of the only experiment in it; empty where it shows several.
    """

    name: str
    title: str
    stubs: tuple[str, str]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    decimals: int
    notes: tuple[str, ...]
    experiment: str = ""


def paper_tables(experiments: Mapping[str, Measured]) -> list[Table]:
    """Those of tables 1 to 10 in which some line has numbers of both kinds."""
    tables = []
    for first, kind in ((1, "explicit"), (6, "generative")):
        tables.append(_by_category(f"table-{first}", kind, experiments))
        for number, name in ((first + 1, "chat"), (first + 3, "math")):
            if measured := experiments.get(name):
                made = (
                    _win_rates(f"table-{number}", kind, measured),
                    _by_set(f"table-{number + 1}", kind, measured),
                )
                tables += [replace(table, experiment=name) for table in made]
    return [table for table in tables if any(map(_is_full, table.rows))]


def absent_tables(tables: Sequence[Table]) -> list[str]:
    """Names of the paper's tables that are not among these."""
    names = {table.name for table in tables}
    return [f"table-{number}" for number in range(1, 11) if f"table-{number}" not in names]


def own_table(measured: Measured) -> Table:
    """Accuracy and margin of all kinds on every set, for each variation of the experiment.

    The accuracies of content-blind rules stand beside them, as means over all runs.
    """
    experiment = measured.experiment
    rules = _rules(measured)
    variations = dict.fromkeys(cell.variation for cell in experiment.cells)

    def group(variation: str, category: str) -> str:
        return (variation or BASE) if len(variations) > 1 else category

    rows = [
        Row(
            group(variation, category),
            name,
            _entries(measured, "by_set", name, measured.kinds, variation)
            + tuple(_entry_of_rule(measured, name, rule) for rule in rules),
        )
        for variation in variations
        for name, category in _categories(measured)
    ]
    table = _table_of_spreads(
        name=f"{file_name(experiment.name)}-by-set",
        title=f"{experiment.name}: accuracy and margin by evaluation set",
        stubs=("Variation" if len(variations) > 1 else "Shift", "Evaluation"),
        kinds=measured.kinds,
        rows=rows,
    )
    return replace(table, columns=table.columns + tuple((BLIND, rule) for rule in rules))


def _rules(measured: Measured) -> list[str]:
    """The content-blind rules of any score file."""
    points = [point for cells in measured.points.values() for point in cells.values()]
    return list(dict.fromkeys(rule for point in points for rule in point.rules))


def _entry_of_rule(measured: Measured, name: str, rule: str) -> Entry:
    points = measured.points[name].values()
    found = [point.rules[rule] for point in points if rule in point.rules]
    return Entry(sum(found) / len(found)) if len(found) == len(points) else Entry()


def file_name(name: str) -> str:
    """A name that is safe in a path."""
    return "-".join(re.findall(r"[\w.]+", name))


def _is_full(row: Row) -> bool:
    return all(entry.value is not None for entry in row.entries)


def _categories(measured: Measured) -> Iterator[tuple[str, str]]:
    """(set, category) of every measured set, in the order of the experiment."""
    for each in measured.experiment.sets:
        if each.name in measured.sets:
            yield each.name, each.category or ""


def _by_category(name: str, kind: str, experiments: Mapping[str, Measured]) -> Table:
    kinds = (kind, OPPONENT)
    rows = [
        Row(training, category, _entries(measured, "by_category", category, kinds))
        for experiment, training in TRAINING.items()
        if (measured := experiments.get(experiment))
        for category in measured.categories
    ]
    title = f"Accuracy and margin by category, {kind} and {OPPONENT}"
    return _table_of_spreads(name, title, ("Trained on", "Evaluation"), kinds, rows)


def _by_set(name: str, kind: str, measured: Measured) -> Table:
    kinds = (kind, OPPONENT)
    rows = [
        Row(category, each, _entries(measured, "by_set", each, kinds))
        for each, category in _categories(measured)
    ]
    training = TRAINING[measured.experiment.name]
    title = f"Accuracy and margin by evaluation set, {kind} and {OPPONENT}, trained on {training}"
    return _table_of_spreads(name, title, ("Shift", "Evaluation"), kinds, rows)


def _table_of_spreads(
    name: str, title: str, stubs: tuple[str, str], kinds: Sequence[str], rows: Sequence[Row]
) -> Table:
    columns = tuple((metric, kind) for metric in METRICS for kind in kinds)
    return Table(
        name, title, stubs, columns, tuple(rows), 3, _notes(SPREAD_NOTE, SPREAD_DIFFERENCE, rows)
    )


def _notes(note: str, difference: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """How the numbers were made, as far as it concerns these."""
    entries = [entry for row in rows for entry in row.entries]
    compared = any(entry.difference is not None for entry in entries)
    partial = any(entry.partial for entry in entries)
    return (note, *[difference] * compared, *[PARTIAL_NOTE] * partial)


def _entries(
    measured: Measured, level: Level, place: str, kinds: Sequence[str], variation: str = ""
) -> tuple[Entry, ...]:
    names = measured.categories[place] if level == "by_category" else (place,)
    experiment = measured.experiment.name
    return tuple(
        _entry(
            measured.spread(names, measured.cells(kind, variation), get),
            None if variation else printed(experiment, level, place, metric, kind),
        )
        for metric, get in METRICS.items()
        for kind in kinds
    )


def _entry(spread: Spread | None, paper: Printed | None) -> Entry:
    if spread is None:
        return Entry(paper=paper)
    difference = None
    if paper:
        unit = hypot(spread.deviation or 0.0, paper.deviation or paper.largest_deviation or 0.0)
        difference = (spread.mean - paper.mean) / unit if unit else None
    partial = spread.found < spread.planned
    return Entry(spread.mean, spread.deviation, paper, difference, partial)


def _win_rates(name: str, kind: str, measured: Measured) -> Table:
    rows = [
        Row(category, each, _shares(measured, each, kind))
        for each, category in _categories(measured)
    ]
    training = TRAINING[measured.experiment.name]
    title = f"Win rates in accuracy, {kind} against {OPPONENT}, trained on {training}"
    columns = tuple(("win rate (%)", outcome) for outcome in (kind, "tie", OPPONENT))
    return Table(
        name,
        title,
        ("Shift", "Evaluation"),
        columns,
        tuple(rows),
        1,
        _notes(WIN_NOTE, WIN_DIFFERENCE, rows),
    )


def _shares(measured: Measured, name: str, kind: str) -> tuple[Entry, ...]:
    """The three entries of a line of win rates: of the kind, ties, of implicit models."""
    paper = printed_win_rates(measured.experiment.name, kind, name) or (None,) * 3
    found = paired_win_rates(measured, [name], (kind, OPPONENT))
    if found is None:
        return tuple(Entry(paper=None if share is None else Printed(share)) for share in paper)
    planned = min(len(measured.cells(each)) for each in (kind, OPPONENT))
    return tuple(
        Entry(
            value=ours,
            paper=None if share is None else Printed(share),
            difference=None if share is None else _binomial_difference(ours, found.cells, share),
            partial=found.cells < planned,
        )
        for ours, share in zip((found.first, found.tie, found.second), paper, strict=True)
    )


def paired_win_rates(
    measured: Measured, names: Sequence[str], kinds: tuple[str, str]
) -> WinRates | None:
    """The paper's win rates over all (model, seed, set) that both kinds have; None without any."""
    first, second = (
        {
            (f"{cell.model} {name}", cell.seed): measured.points[name][cell].accuracy
            for name in names
            for cell in measured.cells(kind)
            if cell in measured.points[name]
        }
        for kind in kinds
    )
    shared = first.keys() & second.keys()
    if not shared:
        return None
    return win_rates({key: first[key] for key in shared}, {key: second[key] for key in shared})


def _binomial_difference(ours: float, cells: int, paper: float) -> float:
    """Ours less the paper's share, both in percent, in standard deviations of the two counts."""
    unit = hypot(_binomial_deviation(ours, cells), _binomial_deviation(paper, CELLS))
    return (ours - paper) / unit


def _binomial_deviation(percent: float, cells: int) -> float:
    """Standard deviation of a share in percent; never 0, however few the cells agree."""
    share = (percent / 100 * cells + 1) / (cells + 2)
    return 100 * sqrt(share * (1 - share) / cells)
