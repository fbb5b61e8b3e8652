"""The paper's tables 1 to 10, and tables of the same layout for any other experiment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt

from rewardgap.reporting.paper.printed import (
    CELLS,
    OPPONENT,
    Level,
    Printed,
    printed,
    printed_win_rates,
)
from rewardgap.reporting.results import BASELINE, METRICS, Results, Spread
from rewardgap.reporting.topic import Finding
from rewardgap.reporting.topics.settings import BASE

TRAINING = {"chat": "UltraFeedback", "math": "RewardMATH"}
"""The experiments of tables 1 to 10, by what the paper trains on."""

CONTENT_BLIND = "content-blind accuracy"
NEAR = 2.0
"""Standard deviations within which a number counts as near to the paper's."""

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
        columns: Headings of the numbers: (quantity, kind).
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


def paper_tables(experiments: Mapping[str, Results]) -> list[Table]:
    """Those of tables 1 to 10 in which some line has numbers of both kinds."""
    tables = []
    for first, kind in ((1, "explicit"), (6, "generative")):
        tables.append(_by_category(f"table-{first}", kind, experiments))
        for number, name in ((first + 1, "chat"), (first + 3, "math")):
            if results := experiments.get(name):
                made = (
                    _win_rates(f"table-{number}", kind, results),
                    _by_set(f"table-{number + 1}", kind, results),
                )
                tables += [replace(table, experiment=name) for table in made]
    return [table for table in tables if any(map(_is_full, table.rows))]


def absent_tables(tables: Sequence[Table]) -> list[str]:
    """Names of the paper's tables that are not among these."""
    names = {table.name for table in tables}
    return [f"table-{number}" for number in range(1, 11) if f"table-{number}" not in names]


def own_table(results: Results) -> Table:
    """Return accuracy and margin of all kinds on every set, for each variation of the experiment.

    The accuracies of content-blind baselines are beside them, as means over all runs.
    """
    varied = len(results.variations) > 1
    rows = [
        Row(
            (variation or BASE) if varied else category,
            name,
            _entries(results, "by_set", name, results.kinds, variation)
            + tuple(_baseline_entry(results, name, baseline) for baseline in results.baselines),
        )
        for variation in results.variations
        for name, category in _categories(results)
    ]
    name = results.experiment.name
    table = _table_of_spreads(
        name=f"{file_name(name)}-by-set",
        title=f"{name}: accuracy and margin by evaluation set",
        stubs=("Variation" if varied else "Shift", "Evaluation"),
        kinds=results.kinds,
        rows=rows,
    )
    columns = tuple((CONTENT_BLIND, baseline) for baseline in results.baselines)
    return replace(table, columns=table.columns + columns)


def _baseline_entry(results: Results, name: str, baseline: str) -> Entry:
    frame = results.frame
    frame = frame[(frame["set"] == name) & (frame["metric"] == f"{BASELINE}{baseline}")]
    complete = len(frame) == len(results.rows[name])
    return Entry(float(frame["value"].sum() / len(frame))) if complete else Entry()


def file_name(name: str) -> str:
    """A name that is safe in a path."""
    return "-".join(re.findall(r"[\w.]+", name))


def _is_full(row: Row) -> bool:
    return all(entry.value is not None for entry in row.entries)


def _categories(results: Results) -> Iterator[tuple[str, str]]:
    """(set, category) of every measured set, in the order of the experiment."""
    for entry in results.experiment.sets:
        if entry.name in results.sets:
            yield entry.name, entry.category or ""


def _by_category(name: str, kind: str, experiments: Mapping[str, Results]) -> Table:
    kinds = (kind, OPPONENT)
    rows = [
        Row(training, category, _entries(results, "by_category", category, kinds))
        for experiment, training in TRAINING.items()
        if (results := experiments.get(experiment))
        for category in results.categories
    ]
    title = f"Accuracy and margin by category, {kind} and {OPPONENT}"
    return _table_of_spreads(name, title, ("Trained on", "Evaluation"), kinds, rows)


def _by_set(table: str, kind: str, results: Results) -> Table:
    kinds = (kind, OPPONENT)
    rows = [
        Row(category, name, _entries(results, "by_set", name, kinds))
        for name, category in _categories(results)
    ]
    training = TRAINING[results.experiment.name]
    title = f"Accuracy and margin by evaluation set, {kind} and {OPPONENT}, trained on {training}"
    return _table_of_spreads(table, title, ("Shift", "Evaluation"), kinds, rows)


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
    results: Results, level: Level, place: str, kinds: Sequence[str], variation: str = ""
) -> tuple[Entry, ...]:
    names = results.categories[place] if level == "by_category" else (place,)
    experiment = results.experiment.name
    return tuple(
        _entry(
            results.spread(metric, names, kind, variation),
            None if variation else printed(experiment, level, place, metric, kind),
        )
        for metric in METRICS
        for kind in kinds
    )


def _entry(spread: Spread | None, paper: Printed | None) -> Entry:
    if spread is None:
        return Entry(paper=paper)
    difference = None
    if paper:
        unit = hypot(spread.deviation or 0.0, paper.deviation or paper.largest_deviation or 0.0)
        difference = (spread.mean - paper.mean) / unit if unit else None
    partial = spread.files < spread.planned
    return Entry(spread.mean, spread.deviation, paper, difference, partial)


def _win_rates(table: str, kind: str, results: Results) -> Table:
    rows = [
        Row(category, name, _shares(results, name, kind)) for name, category in _categories(results)
    ]
    training = TRAINING[results.experiment.name]
    title = f"Win rates in accuracy, {kind} against {OPPONENT}, trained on {training}"
    columns = tuple(("win rate (%)", outcome) for outcome in (kind, "tie", OPPONENT))
    return Table(
        table,
        title,
        ("Shift", "Evaluation"),
        columns,
        tuple(rows),
        1,
        _notes(WIN_NOTE, WIN_DIFFERENCE, rows),
    )


def _shares(results: Results, name: str, kind: str) -> tuple[Entry, ...]:
    """The three entries of a line of win rates: of the kind, ties, of implicit models."""
    paper = printed_win_rates(results.experiment.name, kind, name) or (None,) * 3
    rates = results.win_rates([name], (kind, OPPONENT))
    if rates is None:
        return tuple(Entry(paper=None if share is None else Printed(share)) for share in paper)
    planned = min(len(results.cells(player)) for player in (kind, OPPONENT))
    return tuple(
        Entry(
            value=ours,
            paper=None if share is None else Printed(share),
            difference=None if share is None else _binomial_difference(ours, rates.cells, share),
            partial=rates.cells < planned,
        )
        for ours, share in zip((rates.first, rates.tie, rates.second), paper, strict=True)
    )


def _binomial_difference(ours: float, cells: int, paper: float) -> float:
    """Ours less the paper's share, both in percent, in standard deviations of the two counts."""
    unit = hypot(_binomial_deviation(ours, cells), _binomial_deviation(paper, CELLS))
    return (ours - paper) / unit


def _binomial_deviation(percent: float, cells: int) -> float:
    """Standard deviation of a share in percent; never 0, however few the cells agree."""
    share = (percent / 100 * cells + 1) / (cells + 2)
    return 100 * sqrt(share * (1 - share) / cells)


def beside_paper(tables: Sequence[Table]) -> Iterator[Finding]:
    """Return how many numbers of tables are near to the paper's."""
    entries = [entry for table in tables for row in table.rows for entry in row.entries]
    compared = [entry.difference for entry in entries if entry.difference is not None]
    if compared:
        near = sum(abs(difference) <= NEAR for difference in compared)
        yield Finding(
            "paper",
            f"Of {len(compared)} numbers that the paper prints too, {near} are within {NEAR:.0f} "
            "standard deviations of its own (the tables below say how that is counted).",
        )
