"""The paper's tables 1 to 10, and tables of the same layout for any other experiment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt

from rewardgap.reporting.paper.printed import OPPONENT, Level, Printed, printed, printed_win_rates
from rewardgap.reporting.results import BASELINE, METRICS, Results
from rewardgap.reporting.topic import Finding, baseline_name
from rewardgap.reporting.topics.settings import BASE

TRAINING = {"chat": "UltraFeedback", "math": "RewardMATH"}
"""The experiments of tables 1 to 10, by what the paper trains on."""

CELLS = 18
"""Models times seeds behind a printed win rate."""
BASELINES = "baseline"
NEAR = 2.0
"""Standard deviations within which a number counts as near to the paper's."""

SPREAD_NOTES = (
    "Means over models (and the evaluation sets of a category) ± the standard deviation of the "
    "seeds' means (divided by their number, as NumPy does by default).",
    "Difference: ours less the paper's, in units of the root of the sum of the two squared "
    "deviations; of the only one, where one of the two is not known; and of the paper's largest "
    "deviation, where it prints no other.",
)
WIN_NOTES = (
    "Percentages of the (model, seed) pairs in which one kind's accuracy exceeds the other's by "
    "more than 0.01; else it is a tie.",
    "Difference: ours less the paper's, in units of the root of the sum of the two binomial "
    "variances, with one success and one failure added to each count.",
)
PARTIAL_NOTE = "† of an unfinished grid: some of the planned runs are not in the mean."


@dataclass(frozen=True)
class Entry:
    """One measured number of a table, with its deviation over seeds, beside the paper's.

    Attributes:
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
    """A line of a table: the group it is in, its label, its numbers."""

    group: str
    label: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """A table of numbers; its name is that of its files without ending.

    Attributes:
        stubs: Headings of the group and of the label.
        columns: Headings of the numbers: (quantity, kind).
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
    """Return those of tables 1 to 10 in which some line has numbers of both kinds."""
    tables = []
    for first, kind in ((1, "explicit"), (6, "generative")):
        rows = [
            Row(training, place, _entries(results, place, (kind, OPPONENT), "by_category"))
            for name, training in TRAINING.items()
            if (results := experiments.get(name))
            for place in results.categories
        ]
        title = f"Accuracy and separation by category, {kind} and {OPPONENT}"
        columns = _columns((kind, OPPONENT))
        tables.append(_table(f"table-{first}", title, columns, rows, ("Trained on", "Evaluation")))
        for number, name in ((first + 1, "chat"), (first + 3, "math")):
            if results := experiments.get(name):
                tables += _by_set(number, kind, results)
    return [
        table
        for table in tables
        if any(all(entry.value is not None for entry in row.entries) for row in table.rows)
    ]


def _by_set(number: int, kind: str, results: Results) -> Iterator[Table]:
    """Win rates by evaluation set, and in the next table accuracies and separations."""
    name, sets, pair = results.experiment.name, _sets(results), (kind, OPPONENT)
    trained = f"trained on {TRAINING[name]}"
    title = f"Win rates in accuracy, {kind} against {OPPONENT}, {trained}"
    columns = [("win rate (%)", outcome) for outcome in (kind, "tie", OPPONENT)]
    rows = [Row(category, place, _shares(results, place, kind)) for place, category in sets]
    table = _table(f"table-{number}", title, columns, rows, notes=WIN_NOTES)
    yield replace(table, decimals=1, experiment=name)
    title = f"Accuracy and separation by evaluation set, {kind} and {OPPONENT}, {trained}"
    rows = [Row(category, place, _entries(results, place, pair)) for place, category in sets]
    table = _table(f"table-{number + 1}", title, _columns(pair), rows)
    yield replace(table, experiment=name)


def absent_tables(tables: Sequence[Table]) -> list[str]:
    """Return the names of the paper's tables that are not among these."""
    names = {table.name for table in tables}
    return [f"table-{number}" for number in range(1, 11) if f"table-{number}" not in names]


def own_table(results: Results) -> Table:
    """Return accuracy and separation of all kinds on every set, for each variation.

    The accuracies of baselines are beside them.
    """
    varied = len(results.variations) > 1
    rows = []
    for variation in results.variations:
        for place, category in _sets(results):
            entries = _entries(results, place, results.kinds, "by_set", variation)
            baselines = [_baseline_entry(results, place, name) for name in results.baselines]
            group = (variation or BASE) if varied else category
            rows.append(Row(group, place, (*entries, *baselines)))
    name = results.experiment.name
    title = f"{name}: accuracy and separation by evaluation set"
    beside = [(BASELINES, baseline_name(known)) for known in results.baselines]
    columns = [*_columns(results.kinds), *beside]
    stubs = ("Variation" if varied else "Shift", "Evaluation")
    return _table(f"{file_name(name)}-by-set", title, columns, rows, stubs)


def _baseline_entry(results: Results, name: str, baseline: str) -> Entry:
    frame = results.frame
    frame = frame[(frame["set"] == name) & (frame["metric"] == f"{BASELINE}{baseline}")]
    complete = len(frame) == len(results.rows[name])
    return Entry(float(frame["value"].sum() / len(frame))) if complete else Entry()


def file_name(name: str) -> str:
    """Return a name that is safe in a path."""
    return "-".join(re.findall(r"[\w.]+", name))


def _sets(results: Results) -> list[tuple[str, str]]:
    """(set, category) of every measured set, in the order of the experiment."""
    sets = results.experiment.sets
    return [(entry.name, entry.category or "") for entry in sets if entry.name in results.sets]


def _columns(kinds: Sequence[str]) -> list[tuple[str, str]]:
    return [(metric, kind) for metric in METRICS for kind in kinds]


def _table(
    name: str,
    title: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    stubs: tuple[str, str] = ("Shift", "Evaluation"),
    notes: tuple[str, str] = SPREAD_NOTES,
) -> Table:
    """Return a table of three decimals, with those notes that concern its numbers."""
    entries = [entry for row in rows for entry in row.entries]
    note, difference = notes
    compared = any(entry.difference is not None for entry in entries)
    partial = any(entry.partial for entry in entries)
    shown = (note, *[difference] * compared, *[PARTIAL_NOTE] * partial)
    return Table(name, title, stubs, tuple(columns), tuple(rows), 3, shown)


def _entries(
    results: Results, place: str, kinds: Sequence[str], level: Level = "by_set", variation: str = ""
) -> tuple[Entry, ...]:
    names = results.categories[place] if level == "by_category" else (place,)
    entries = []
    for metric, kind in _columns(kinds):
        name = results.experiment.name
        paper = None if variation else printed(name, level, place, metric, kind)
        spread = results.spread(metric, names, kind, variation)
        entry = Entry(paper=paper)
        if spread:
            partial = spread.files < spread.planned
            entry = replace(entry, value=spread.mean, deviation=spread.deviation, partial=partial)
        if spread and paper:
            unit = hypot(spread.deviation or 0.0, paper.deviation or paper.largest_deviation or 0.0)
            entry = replace(entry, difference=(spread.mean - paper.mean) / unit if unit else None)
        entries.append(entry)
    return tuple(entries)


def _shares(results: Results, name: str, kind: str) -> tuple[Entry, ...]:
    """Return the three entries of a line of win rates: of the kind, ties, of implicit models."""
    shares = printed_win_rates(results.experiment.name, kind, name)
    entries = [Entry(paper=Printed(share)) for share in shares] if shares else [Entry()] * 3
    rates = results.win_rates([name], (kind, OPPONENT))
    if rates is None:
        return tuple(entries)
    partial = rates.cells < min(len(results.cells(player)) for player in (kind, OPPONENT))
    for place, ours in enumerate((rates.first, rates.tie, rates.second)):
        difference = None
        if shares:
            unit = hypot(
                _binomial_deviation(ours, rates.cells), _binomial_deviation(shares[place], CELLS)
            )
            difference = (ours - shares[place]) / unit
        entries[place] = replace(entries[place], value=ours, difference=difference, partial=partial)
    return tuple(entries)


def _binomial_deviation(percent: float, cells: int) -> float:
    """Return the standard deviation of a share in percent; never 0, however few the cells agree."""
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
