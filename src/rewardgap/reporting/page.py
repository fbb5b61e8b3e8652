"""The report as one HTML page that loads nothing: Plotly, data and scripts are inside it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rewardgap.reporting.formats import lines_of
from rewardgap.reporting.paper import source
from rewardgap.reporting.paper.figures import Drawn
from rewardgap.reporting.paper.tables import Table
from rewardgap.reporting.sections import Section
from rewardgap.reporting.words import Tone

SCRIPTS = ("theme.js", "charts.js", "records.js")
TONES: Mapping[Tone, str] = {
    "difference": "Difference",
    "alike": "No difference told",
    "caution": "Caution",
    "paper": "Beside the paper",
}


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        sections: The experiments.
        tables: The tables beside the paper.
        absent_tables: Names of those that nothing was measured for.
        figures: The figures beside the page.
        records: The packed records, see `payload`.
        runs: Number of runs with scores.
        version: Of this package.
    """

    sections: Sequence[Section]
    tables: Sequence[Table]
    absent_tables: Sequence[str]
    figures: Drawn
    records: str
    runs: int
    version: str


def render(page: Page) -> str:
    """The page as HTML; every text is escaped, and only its own scripts may run."""
    environment = Environment(
        loader=PackageLoader("rewardgap.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"lines": _lines, "spans": _spans}
    scripts = [_plotly(), *(_asset(environment, name) for name in SCRIPTS)]
    return environment.get_template("index.html").render(
        **vars(page),
        source=source(),
        tones=TONES,
        style=Markup(_asset(environment, "page.css")),
        charts=_embedded(_plots(page.sections)),
        scripts=[Markup(script) for script in scripts],
        script_hashes=Markup(" ".join(map(_hash, scripts))),
    )


def _asset(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text


def _hash(script: str) -> str:
    """How a content security policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _plots(sections: Sequence[Section]) -> dict[str, Any]:
    return {
        name: list(chart.variants.values())
        for section in sections
        for name, chart in section.charts.items()
    }


def _embedded(data: Any) -> Markup:
    """JSON that can stand in a script element, whatever its texts hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


class Line(NamedTuple):
    """A line of a table: whether it is ours, the paper's or the difference, and its texts."""

    part: str
    group: str
    label: str
    texts: tuple[str, ...]


def _lines(table: Table) -> list[Line]:
    return [
        Line(label if label in ("paper", "difference") else "ours", group, label, texts)
        for group, label, texts in lines_of(table)
    ]


def _spans(table: Table) -> list[tuple[str, int]]:
    return [(what, len(list(some))) for what, some in groupby(table.columns, lambda each: each[0])]
