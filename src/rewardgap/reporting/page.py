"""The report as one HTML page that loads nothing: Vega, data and scripts are inside it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rewardgap.reporting.drawing import STYLE
from rewardgap.reporting.paper.figures import DrawnFigures
from rewardgap.reporting.paper.printed import source
from rewardgap.reporting.paper.tables import Table, beside_paper, file_name
from rewardgap.reporting.paper.writing import lines_of
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import Figure, Finding, TextTable, Tone, all_topics

SCRIPTS = ("theme.js", "charts.js", "records.js")
TONES: Mapping[Tone, str] = {
    "difference": "Difference",
    "alike": "No difference told",
    "caution": "Caution",
    "paper": "Beside the paper",
}


@dataclass(frozen=True)
class TopicPart:
    """A topic of an experiment: its charts, by a name unique on the page, and its tables."""

    figures: Mapping[str, Figure]
    tables: Sequence[TextTable]


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
        topics: Those that have something to show.
        table: All kinds' accuracy and margin by set.
    """

    anchor: str
    title: str
    claim: str
    facts: str
    missing: Sequence[str]
    findings: Sequence[Finding]
    topics: Sequence[TopicPart]
    table: Table


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        sections: The experiments.
        tables: The tables beside the paper.
        absent_tables: Names of those that nothing was measured for.
        figures: The figures beside the page.
        records: The packed records, see `records`.
        runs: Number of runs with scores.
    """

    sections: Sequence[Section]
    tables: Sequence[Table]
    absent_tables: Sequence[str]
    figures: DrawnFigures
    records: str
    runs: int


def section(results: Results, tables: Sequence[Table], table: Table) -> Section:
    """Return the section of an experiment.

    Args:
        results: The experiment.
        tables: Tables beside the paper that show it alone; the page has them further down.
        table: Its own table.
    """
    experiment = results.experiment
    anchor = file_name(experiment.name)
    sentences = [finding for topic in all_topics() for finding in topic.sentences(results)]
    topics = []
    for topic in all_topics():
        figures = [figure for figure in topic.figures(results) if figure.variants]
        parts = {f"{anchor}-{topic.name}-{n}": figure for n, figure in enumerate(figures)}
        topics.append(TopicPart(parts, [text for text in topic.tables(results) if text.rows]))
    return Section(
        anchor=anchor,
        title=experiment.name,
        claim=experiment.claim,
        facts=_facts(results),
        missing=results.missing,
        findings=[*sentences, *beside_paper(tables)],
        topics=[part for part in topics if part.figures or part.tables],
        table=table,
    )


def _facts(results: Results) -> str:
    experiment = results.experiment
    records = (len(rows) for cells in results.rows.values() for rows in cells.values())
    seeds = {cell.seed for cell in results.measured}
    profile = f", profile “{experiment.profile}”" if experiment.profile else ""
    planned = f"{len(results.measured)} of {len(experiment.cells)} planned runs have scores"
    counts = {
        "initial model": len(results.models),
        "kind": len(results.kinds),
        "seed": len(seeds),
        "evaluation set": len(results.sets),
    }
    numbers = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    return (
        f"Trained on {experiment.train}{profile}: {planned}; {numbers} "
        f"of at most {max(records, default=0)} records."
    )


def render(page: Page) -> str:
    """Return the page as HTML; every text is escaped, and only its own scripts may run."""
    environment = Environment(
        loader=PackageLoader("rewardgap.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"lines": lines_of, "spans": _spans}
    scripts = [_vega(), *(_asset(environment, name) for name in SCRIPTS)]
    return environment.get_template("index.html").render(
        **vars(page),
        source=source(),
        version=version("rewardgap"),
        tones=TONES,
        style=Markup(_asset(environment, "page.css")),
        charts=embedded({"style": STYLE, "figures": _charts(page.sections)}),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(_hash, scripts))),
    )


def _asset(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, which draw the charts in the browser."""
    from vl_convert import javascript_bundle

    return str(javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _hash(script: str) -> str:
    """How a content security policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _charts(sections: Sequence[Section]) -> dict[str, list[dict[str, Any]]]:
    charts = {}
    for part in (part for section in sections for part in section.topics):
        for name, figure in part.figures.items():
            specs = [chart.to_dict(validate=False) for chart in figure.variants.values()]
            for spec in specs:
                del spec["config"]  # the page has one for all
            charts[name] = specs
    return charts


def embedded(data: Any) -> Markup:
    """Return JSON that can be inside a script element, whatever its texts hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _spans(table: Table) -> list[tuple[str, int]]:
    return [
        (quantity, len(list(columns)))
        for quantity, columns in groupby(table.columns, lambda column: column[0])
    ]
