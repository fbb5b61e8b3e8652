"""What the page shows of an experiment: findings, charts, and tables of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardgap.reporting.analysis import Analysis
from rewardgap.reporting.charts import Chart, charts
from rewardgap.reporting.details import TextTable, details
from rewardgap.reporting.paper.tables import Table, file_name
from rewardgap.reporting.results import Measured
from rewardgap.reporting.words import Finding, findings


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
