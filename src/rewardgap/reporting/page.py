"""The report as one HTML page that loads nothing: Vega, data and scripts are inside it."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from markupsafe import Markup

from rewardgap.evaluation.text import counted
from rewardgap.io.pages import page_templates
from rewardgap.reporting.drawing import STYLE
from rewardgap.reporting.paper.figures import DrawnFigures
from rewardgap.reporting.paper.printed import source
from rewardgap.reporting.paper.tables import Table, absent_tables, beside_paper, file_name
from rewardgap.reporting.paper.writing import lines_of
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import Figure, Finding, TextTable, Tone, all_topics
from rewardgap.reporting.topics import claim

ASSETS = ("page.css", "theme.js", "charts.js", "records.js")
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
    """An experiment on the page, by an anchor that is unique there.

    The claim is what it is to show, `outcome` what tests say of it, `in_words` with which numbers,
    `headlines` at most three sentences, `runs` how many have scores, `facts` what was run (a
    sentence), `missing` what is planned and not there, `table` all kinds' accuracy and separation
    by set.
    """

    anchor: str
    title: str
    claim: str
    outcome: str
    in_words: str
    headlines: Sequence[Finding]
    runs: int
    facts: str
    missing: Sequence[str]
    findings: Sequence[Finding]
    topics: Sequence[TopicPart]
    table: Table


def section(results: Results, tables: Sequence[Table], table: Table) -> Section:
    """Return the section of an experiment.

    `tables` are those beside the paper that show it alone, further down; `table` is its own.
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
        outcome=claim.measure(results).outcome if experiment.predicts else "",
        in_words=claim.in_words(results),
        runs=len(results.measured),
        headlines=[finding for topic in all_topics() for finding in topic.headline(results)],
        facts=_facts(results),
        missing=results.missing,
        findings=[*sentences, *beside_paper(tables)],
        topics=[part for part in topics if part.figures or part.tables],
        table=table,
    )


def _facts(results: Results) -> str:
    experiment = results.experiment
    records = (len(rows) for cells in results.rows.values() for rows in cells.values())
    profile = f", profile “{experiment.profile}”" if experiment.profile else ""
    counts = {
        "initial model": len(results.models),
        "kind": len(results.kinds),
        "seed": len({cell.seed for cell in results.measured}),
        "evaluation set": len(results.sets),
    }
    done, planned = len(results.measured), len(experiment.cells)
    all_done = f"{counted(done, 'run')} with"
    runs = all_done if done == planned else f"{done} of {planned} planned runs have"
    numbers = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())
    return (
        f"Trained on {experiment.train}{profile}: {runs} scores; {numbers} of at most "
        f"{counted(max(records, default=0), 'record')}."
    )


def render(
    sections: Sequence[Section],
    tables: Sequence[Table],
    figures: DrawnFigures,
    records: str,
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page as HTML; every text is escaped, and only its own scripts may run.

    `tables` are those beside the paper, `records` comes from `records.pack`, and `pictures` are the
    drawn figures as SVG by name.
    """
    environment = page_templates("rewardgap.reporting", "templates", lines=lines_of, spans=_spans)
    assert environment.loader is not None
    style, *own_scripts = (environment.loader.get_source(environment, name)[0] for name in ASSETS)
    scripts = [_vega(), *own_scripts]
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    # How a content security policy names a script that may run.
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return environment.get_template("index.html").render(
        sections=sections,
        tables=tables,
        absent_tables=absent_tables(tables),
        figures=figures,
        records=records,
        pictures={name: base64.b64encode(svg).decode() for name, svg in pictures.items()},
        source=source(),
        version=version("rewardgap"),
        tones=TONES,
        style=Markup(style),
        charts=embedded({"style": STYLE, "figures": _charts(sections)}),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(hashes)),
    )


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, which draw the charts in the browser."""
    from vl_convert import javascript_bundle

    return str(javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _charts(sections: Sequence[Section]) -> dict[str, list[dict[str, Any]]]:
    """Return the specifications of all figures' variants, without the page's common style."""
    return {
        name: [
            {key: value for key, value in chart.to_dict(validate=False).items() if key != "config"}
            for chart in figure.variants.values()
        ]
        for section in sections
        for part in section.topics
        for name, figure in part.figures.items()
    }


def embedded(data: Any) -> Markup:
    """Return JSON that can be inside a script element, whatever its texts hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}))


def _spans(table: Table) -> list[tuple[str, int]]:
    return list(Counter(quantity for quantity, _ in table.columns).items())
