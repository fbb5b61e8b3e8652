"""What the page shows of an experiment: findings, charts, and tables of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardgap.bootstrap import Interval
from rewardgap.reporting.analysis import Analysis, separated
from rewardgap.reporting.charts import Chart, charts
from rewardgap.reporting.measured import INITIAL, Measured
from rewardgap.reporting.tables import Table, file_name
from rewardgap.reporting.words import Finding, findings, interval, number, rule_name
from rewardgap.statistics import SIGNIFICANCE, Comparison


@dataclass(frozen=True)
class TextTable:
    """A table on the page; the first `stubs` columns are labels.

    Attributes:
        title: What it shows.
        note: How its numbers were made.
        headings: Of the columns.
        rows: Its cells as text.
        stubs: Number of columns of labels.
    """

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    stubs: int


@dataclass(frozen=True)
class Section:
    """An experiment on the page.

    Attributes:
        anchor: Unique on the page.
        title: Its name.
        claim: What it is to show.
        facts: What was run, in a sentence.
        missing: What is planned and not there.
        findings: What its numbers say.
        charts: By name unique on the page.
        details: Tables of the statistics.
        table: All kinds' accuracy and margin by set.
    """

    anchor: str
    title: str
    claim: str
    facts: str
    missing: Sequence[str]
    findings: Sequence[Finding]
    charts: Mapping[str, Chart]
    details: Sequence[TextTable]
    table: Table


def section(measured: Measured, analysis: Analysis, tables: Sequence[Table], own: Table) -> Section:
    """The section of an experiment.

    Args:
        measured: The experiment.
        analysis: Its statistics.
        tables: Tables beside the paper that show it alone; the page has them further down.
        own: Its own table.
    """
    experiment = measured.experiment
    anchor = file_name(experiment.name)
    return Section(
        anchor=anchor,
        title=experiment.name,
        claim=experiment.claim,
        facts=_facts(measured),
        missing=measured.missing,
        findings=findings(measured, analysis, tables),
        charts={
            f"{anchor}-{place}": chart for place, chart in enumerate(charts(measured, analysis))
        },
        details=details(measured, analysis),
        table=own,
    )


def _facts(measured: Measured) -> str:
    experiment = measured.experiment
    cells = {cell for cells in measured.rows.values() for cell in cells}
    seeds = len({cell.seed for cell in cells})
    records = max(
        (len(rows) for each in measured.rows.values() for rows in each.values()), default=0
    )
    profile = f", profile “{experiment.profile}”" if experiment.profile else ""
    return (
        f"Trained on {experiment.train}{profile}: {len(cells)} of {len(experiment.cells)} planned "
        f"runs have scores; {_count(len(measured.subjects), 'initial model')}, "
        f"{_count(len(measured.kinds), 'kind')}, {_count(seeds, 'seed')}, "
        f"{_count(len(measured.sets), 'evaluation set')} of at most {records} records."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def details(measured: Measured, analysis: Analysis) -> list[TextTable]:
    """The tables of an experiment's statistics for which there is something to show."""
    made = (
        _beside_rules(analysis),
        _comparisons(analysis),
        _drops(analysis),
        _generations(measured),
        _forecasts(measured, analysis),
    )
    return [table for table in made if table.rows]


def _beside_rules(analysis: Analysis) -> TextTable:
    """Every kind's accuracy, beside content-blind rules and where the longer-wins rule fails."""
    rules = dict.fromkeys(
        rule
        for overall in analysis.overall.values()
        for each in overall.values()
        for rule in each.baselines
    )
    rows = [
        [
            name,
            kind,
            interval(each.accuracy),
            *(_maybe(each.baselines.get(rule)) for rule in rules),
            _maybe(each.where_longer_fails),
        ]
        for name, overall in analysis.overall.items()
        for kind, each in overall.items()
    ]
    return TextTable(
        "Accuracy beside content-blind rules",
        "Means over all runs of a kind with 95 % intervals. The last column is the accuracy on the "
        "records on which the rule “longer wins” is wrong.",
        ["set", "kind", "accuracy", *map(rule_name, rules), "where longer fails"],
        rows,
        2,
    )


def _maybe(value: Interval | None) -> str:
    return interval(value) if value else "–"


def _comparisons(analysis: Analysis) -> TextTable:
    rows = []
    for name, comparisons in analysis.kinds.items():
        for (first, second), each in comparisons.items():
            p_values = [
                _p_value(p) for p in (each.permutation_p, each.mcnemar_p, each.holm_p, each.bh_p)
            ]
            verdict = _verdict(first, second, each)
            rows.append(
                [name, f"{first} − {second}", interval(each.difference), *p_values, verdict]
            )
    return TextTable(
        "Kinds against each other",
        "Difference in accuracy, paired by record, over the models and seeds that both kinds have, "
        "with its 95 % interval over records and runs. Holm's and Benjamini and Hochberg's "
        f"corrections are of the permutation test, over all {len(rows)} comparisons of this table; "
        "it takes the runs as they are. A kind is ahead where Holm's p is below 0.05 and the "
        "interval leaves out 0.",
        ["set", "kinds", "difference", "permutation p", "McNemar p", "Holm p", "BH p", "verdict"],
        rows,
        2,
    )


def _verdict(first: str, second: str, comparison: Comparison) -> str:
    if separated(comparison):
        return f"{first if comparison.difference.value > 0 else second} is ahead"
    if comparison.holm_p < SIGNIFICANCE:
        return "these runs differ, others may not"
    return "cannot be told apart"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value)


def _drops(analysis: Analysis) -> TextTable:
    rows = [
        [name, kind, str(each.n), interval(each.drop), interval(each.flip_rate)]
        for name, drops in analysis.drops.items()
        for kind, each in drops.items()
    ]
    return TextTable(
        "From a set to its rewording",
        "Accuracy lost and share of verdicts that turn, paired by record, over all runs of a kind; "
        "95 % intervals over records.",
        ["reworded set", "kind", "records", "accuracy lost", "verdicts that turn"],
        rows,
        2,
    )


def _generations(measured: Measured) -> TextTable:
    rows = [
        [name, kind, f"{share.mean:.3f}", _deviation(share.deviation), str(share.found)]
        for (name, kind), share in measured.correct_generations.items()
    ]
    return TextTable(
        "Correct generations",
        f"Share of sampled responses that are correct; “{INITIAL}” is before training.",
        ["set", "kind", "share correct", "deviation over seeds", "runs"],
        rows,
        2,
    )


def _deviation(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _forecasts(measured: Measured, analysis: Analysis) -> TextTable:
    rows = [
        [
            each.name,
            each.model,
            each.kind,
            f"{each.loss:.2f}",
            interval(each.accuracy),
            interval(found.accuracy),
        ]
        for each in measured.forecasts
        if (found := analysis.by_subject.get(each.name, {}).get((each.model, each.kind)))
    ]
    return TextTable(
        "Forecast and measured",
        "Accuracy forecast from the initial language model alone, and accuracy after training; "
        "95 % intervals.",
        ["set", "initial model", "kind", "at training loss", "forecast", "measured"],
        rows,
        3,
    )
