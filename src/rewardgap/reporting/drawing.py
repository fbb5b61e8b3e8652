"""The report's charts: one Vega-Lite specification for the page and for a figure of a paper.

A chart is made from a frame with one row per mark. On the page Vega draws it at the width of the
window; for a paper see `paper.saving`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import altair as alt
import pandas as pd

from rewardgap.models.kinds import KINDS

# Okabe and Ito's colours, which the colour-blind tell apart too, in the order of the registry.
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#8F6B00", "#5C5C5C")
SHAPES = ("circle", "triangle-up", "square", "triangle-down", "diamond", "cross", "wedge", "arrow")
BASELINE_SHAPES = ("triangle-right", "triangle-left", "cross", "stroke")
GREY = "#7A828C"
"""For baselines, chance and the paper; legible on light and on dark."""
TIE = "tie"
PAPER = "the paper"
BASELINES = "baselines"

TYPE = 13
SLOT, GAP = 14, 12
"""Pixels that a mark takes in a line of a chart, and that separate two lines."""

ENDS = ("value", "low", "high", "paper")
"""The numbers of a mark."""

Chart = alt.LayerChart | alt.ConcatChart

STYLE: Mapping[str, Any] = {
    "font": "sans-serif",
    "lineBreak": "\n",
    "background": None,
    "view": {"stroke": None},
    "concat": {"spacing": 14},
    "legend": {
        "orient": "bottom", "title": None, "labelFontSize": TYPE, "labelLimit": 300,
        "symbolSize": 70, "symbolOpacity": 1, "columns": 3, "rowPadding": 4,
    },
    "axis": {
        "labelFontSize": TYPE, "titleFontSize": TYPE, "titleFontWeight": "normal",
        "labelLimit": 220, "titleLimit": 500, "gridOpacity": 0.6,
        "labelFlush": False, "labelSeparation": 6, "labelOverlap": True,
    },
    "axisQuantitative": {"tickCount": 8},
    # Of the weight of all type: a PDF has its fonts, if several, in an order that changes.
    "title": {
        "fontSize": TYPE, "fontWeight": "normal", "anchor": "start", "frame": "bounds", "offset": 6,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How the marks of a kind look.

    Attributes:
        colour: As #RRGGBB.
        shape: One of Vega's.
    """

    colour: str
    shape: str


NO_KINDS: Mapping[str, Style] = {
    "initial model": Style(GREY, "circle"),
    PAPER: Style(GREY, "diamond"),
    TIE: Style("#BDBDBD", "square"),
}
"""What stands among kinds in a legend."""


def kind_style(kind: str) -> Style:
    """Return a kind's style by its place in the registry; that of an unknown kind by its name."""
    if kind in NO_KINDS:
        return NO_KINDS[kind]
    place = list(KINDS).index(kind) if kind in KINDS else crc32(kind.encode())
    return Style(COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)])


def dots(
    frame: pd.DataFrame,
    axis: str,
    reference: float | None = None,
    labels: bool = True,
    legend: Sequence[str] = (),
) -> alt.LayerChart:
    """Draw a line per name, from the top down, with a mark and its interval for every series.

    Args:
        frame: The columns `line`, `series` (a kind or a baseline) and `value`; where known `low`
            and `high`, `paper` (an open diamond) and `baseline` (whether the series is one).
        axis: Title of the axis.
        reference: Value of a dotted line, such as that of chance.
        labels: Whether lines are named; not where a chart to the left names them.
        legend: Names in the legend, that of panels beside this one too, with PAPER and TIE; those
            in the frame by default.
    """
    frame = _completed(frame)
    series = list(dict.fromkeys(frame["series"]))
    is_baseline = dict(zip(frame["series"], frame["baseline"], strict=True))
    styles = _styles(series, is_baseline, frame["paper"].notna().any())
    if legend:
        styles = {name: kind_style(name) for name in legend}
    lines = list(dict.fromkeys(frame["line"]))
    slots = list(dict.fromkeys(frame["slot"]))
    base = alt.Chart(frame).encode(
        y=_lines(lines, labels),
        yOffset=alt.YOffset(
            "slot:N", scale=alt.Scale(domain=slots, paddingInner=0, paddingOuter=0.4)
        ),
        color=_colour("series", styles),
        tooltip=_tooltip(frame, axis),
    )
    scale = alt.Scale(zero=False, nice=True)
    x = {column: alt.X(f"{column}:Q", title=axis, scale=scale) for column in ENDS}
    mark = base.mark_point(filled=True, size=70, opacity=1)
    layers = [mark.encode(x["value"], shape=_shape("series", styles))]
    if frame["low"].notna().any():
        layers.insert(0, base.mark_rule(strokeWidth=1.6).encode(x["low"], x2="high:Q"))
    if frame["paper"].notna().any():
        diamond = base.mark_point(filled=False, size=80, strokeWidth=1.4, opacity=1)
        printed = diamond.transform_filter("isValid(datum.paper)")
        layers.append(printed.encode(x["paper"], shape=alt.value("diamond")))
    if reference is not None:
        layers.insert(0, _reference(reference))
    height = len(lines) * (max(len(slots), 2) * SLOT + GAP)
    return _layered(layers, height)


def _layered(layers: Sequence[alt.Chart], height: int) -> alt.LayerChart:
    chart = alt.layer(*layers)
    assert isinstance(chart, alt.LayerChart)
    chart.height = height
    return chart


def _completed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every column that a chart of dots reads, short numbers, and slots of lines."""
    frame = frame.copy()
    frame["baseline"] = frame["baseline"].astype(bool) if "baseline" in frame else False
    for column in ENDS:
        frame[column] = frame[column].astype(float).map(short) if column in frame else None
    frame["slot"] = frame["series"].where(~frame["baseline"], BASELINES)
    return frame.sort_values("baseline", kind="stable")


def short(value: float) -> float:
    """Return four digits, which is more than can be seen."""
    return float(f"{value:.4g}")


def _styles(
    series: Sequence[str], is_baseline: Mapping[str, bool], has_paper: bool
) -> dict[str, Style]:
    """Styles in the order of the legend."""
    kinds = {name: kind_style(name) for name in series if not is_baseline[name]}
    if has_paper:
        kinds[PAPER] = kind_style(PAPER)
    baselines = [name for name in series if is_baseline[name]]
    return kinds | {
        name: Style(GREY, BASELINE_SHAPES[place % len(BASELINE_SHAPES)])
        for place, name in enumerate(baselines)
    }


def _lines(lines: Sequence[str], labels: bool = True) -> alt.Y:
    """The axis of names; a long one is broken at its first hyphen."""
    broken = "length(datum.label) > 12 ? replace(datum.label, '-', '-\\n') : datum.label"
    axis = alt.Axis(labelExpr=broken, grid=False, ticks=False, domain=False, labels=labels)
    scale = alt.Scale(paddingInner=0.15, paddingOuter=0.05)
    return alt.Y("line:N", sort=list(lines), title=None, axis=axis, scale=scale)


def _colour(column: str, styles: Mapping[str, Style]) -> alt.Color:
    colours = [style.colour for style in styles.values()]
    return alt.Color(f"{column}:N", title=None, scale=alt.Scale(domain=list(styles), range=colours))


def _shape(column: str, styles: Mapping[str, Style]) -> alt.Shape:
    shapes = [style.shape for style in styles.values()]
    return alt.Shape(f"{column}:N", title=None, scale=alt.Scale(domain=list(styles), range=shapes))


def _tooltip(frame: pd.DataFrame, axis: str) -> list[alt.Tooltip]:
    known = {"value": axis, "low": "low", "high": "high", "paper": PAPER}
    return [
        alt.Tooltip("line:N", title="of"),
        alt.Tooltip("series:N", title="series"),
        *(
            alt.Tooltip(f"{column}:Q", title=title, format=".3f")
            for column, title in known.items()
            if frame[column].notna().any()
        ),
    ]


def _reference(value: float) -> alt.Chart:
    chart = alt.Chart(pd.DataFrame({"at": [value]}))
    rule: alt.Chart = chart.mark_rule(strokeDash=[2, 3], color=GREY).encode(x="at:Q")
    return rule


def stacked_shares(
    frame: pd.DataFrame, kinds: tuple[str, str], legend: bool = True
) -> alt.LayerChart:
    """Draw a bar per line of wins of the first kind, ties and wins of the second, in percent.

    Args:
        frame: The columns `line`, `first`, `tie`, `second`, and where the paper prints its own,
            `paper_first`, `paper_tie`, `paper_second`: a thin bar below.
        kinds: Names of the first and the second kind.
        legend: Whether there is a legend; not beside a chart of dots that has the tie in its own.
    """
    styles = {name: kind_style(name) for name in (kinds[0], TIE, kinds[1])}
    lines = list(frame["line"])
    bars = alt.Chart(_segments(frame, "", styles))
    thin = alt.Chart(_segments(frame, "paper_", styles))
    places = {
        "y": _lines(lines),
        "x2": "end:Q",
        "tooltip": [
            alt.Tooltip("line:N", title="of"),
            alt.Tooltip("who:N", title="wins"),
            alt.Tooltip("share:Q", title="%", format=".1f"),
        ],
    }
    at = alt.X("start:Q", title="share (%)", scale=alt.Scale(domain=[0, 100], nice=False))
    colour = _colour("who", styles) if legend else alt.Color("colour:N", scale=None)
    number = bars.transform_filter("datum.share >= 7").mark_text(fontSize=TYPE - 1, yOffset=-3)
    ink = alt.condition("datum.who == 'tie'", alt.value("#1b1f24"), alt.value("white"))
    layers = [
        bars.mark_bar(height=18, yOffset=-3).encode(at, color=colour, **places),
        thin.mark_bar(height=6, yOffset=11, opacity=0.55).encode(at, color=colour, **places),
        number.encode(
            alt.X("middle:Q", title="share (%)"), y=places["y"], text="text:N", color=ink
        ),
    ]
    return _layered(layers, len(lines) * 40)


def _segments(frame: pd.DataFrame, prefix: str, styles: Mapping[str, Style]) -> pd.DataFrame:
    """Where the segments of every line's bar begin and end; nothing of lines without numbers."""
    columns = [f"{prefix}{part}" for part in ("first", "tie", "second")]
    rows = []
    for entry in frame.to_dict("records"):
        start = 0.0
        for (name, style), column in zip(styles.items(), columns, strict=True):
            share = entry.get(column)
            if share is not None and share == share:
                end = start + share
                middle, text = (start + end) / 2, f"{share:.0f}"
                values = (entry["line"], name, style.colour, short(share), short(start), short(end))
                rows.append((*values, short(middle), text))
                start = end
    return pd.DataFrame(
        rows, columns=["line", "who", "colour", "share", "start", "end", "middle", "text"]
    )  # fmt: skip


def curves(frame: pd.DataFrame, across: str, up: str, points: bool = False) -> alt.LayerChart:
    """Draw a line per run, coloured by kind.

    Args:
        frame: The columns `kind`, `run`, `x` and `y`.
        across: Title of the horizontal axis.
        up: Title of the vertical axis.
        points: Whether every point is marked, and the horizontal axis is logarithmic and falls.
    """
    styles = {kind: kind_style(kind) for kind in dict.fromkeys(frame["kind"])}
    scale = alt.Scale(type="log", reverse=True, nice=False) if points else alt.Scale(nice=False)
    base = alt.Chart(frame).encode(
        alt.X("x:Q", title=across, scale=scale),
        alt.Y("y:Q", title=up, scale=alt.Scale(zero=False)),
        color=_colour("kind", styles),
        detail="run:N",
        tooltip=[
            alt.Tooltip("run:N"),
            *([alt.Tooltip("x:Q", title=across, format=".3g")] if points else []),
            *([alt.Tooltip("y:Q", title=up, format=".3f")] if points else []),
        ],
    )
    layers = [base.mark_line(strokeWidth=1.5, opacity=0.75).encode(order="order:Q")]
    if points:
        marks = base.mark_point(filled=True, size=40, opacity=1)
        layers.append(marks.encode(shape=_shape("kind", styles)))
    return _layered(layers, 320)


def agreement(frame: pd.DataFrame, across: str, up: str) -> alt.LayerChart:
    """Draw a point per row with both intervals, and the diagonal on which both values agree.

    Args:
        frame: The columns `line`, `kind`, `x`, `x_low`, `x_high`, `y`, `y_low` and `y_high`.
        across: Title of the horizontal axis.
        up: Title of the vertical axis.
    """
    styles = {kind: kind_style(kind) for kind in dict.fromkeys(frame["kind"])}
    whole = alt.Scale(domain=[0, 1], nice=False)
    base = alt.Chart(frame).encode(
        color=_colour("kind", styles),
        tooltip=[
            alt.Tooltip("line:N", title="of"),
            alt.Tooltip("kind:N"),
            alt.Tooltip("x:Q", title=across, format=".3f"),
            alt.Tooltip("y:Q", title=up, format=".3f"),
        ],
    )
    x, y = alt.X("x:Q", title=across, scale=whole), alt.Y("y:Q", title=up, scale=whole)
    ends = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})
    diagonal = alt.Chart(ends).mark_line(strokeDash=[2, 3], color=GREY, strokeWidth=1)
    layers = [
        diagonal.encode(x, y),
        base.mark_rule(strokeWidth=1.4).encode(alt.X("x_low:Q", title=across), y, x2="x_high:Q"),
        base.mark_rule(strokeWidth=1.4).encode(x, alt.Y("y_low:Q", title=up), y2="y_high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(x, y, shape=_shape("kind", styles)),
    ]
    return _layered(layers, 380)


def panels(
    charts: Sequence[tuple[str, alt.LayerChart]], columns: int, one_axis: bool = False
) -> alt.ConcatChart:
    """Return charts side by side, in lines of `columns`, each under its title.

    Args:
        charts: Titles and charts.
        columns: Charts in a line.
        one_axis: Whether all have the same horizontal axis.
    """
    titled = [chart.properties(title=title or " ") for title, chart in charts]
    together: alt.ConcatChart = alt.concat(*titled, columns=columns)
    together.resolve = alt.Resolve(
        scale=alt.ScaleResolveMap(x="shared" if one_axis else "independent")
    )
    return together
