"""The report's charts: one Vega-Lite specification for the page and for a figure of a paper.

A chart is made from a frame with one row per mark. On the page Vega draws it at the width of the
window; for a paper see `paper.saving`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from rewardgap.models.kinds.palette import GREY, Style, style_of_kind

BASELINE_SHAPES = ("triangle-right", "triangle-left", "cross", "stroke")
OPEN_DIAMOND = "M-1.1,0L0,-1.1L1.1,0L0,1.1ZM-1,0L0,1L1,0L0,-1Z"
"""An SVG path with a hole: a legend fills every symbol."""
TIE = "tie"
PAPER = "the paper"
BASELINES = "baselines"

TYPE = 13
SLOT, GAP = 14, 12
"""Pixels that a mark takes in a line of a chart, and that separate two lines."""

Chart = alt.LayerChart | alt.ConcatChart

STYLE: Mapping[str, Any] = {
    "font": "sans-serif",
    "lineBreak": "\n",
    "background": None,
    "view": {"stroke": None},
    "concat": {"spacing": 14},
    "legend": {
        "orient": "bottom", "title": None, "labelFontSize": TYPE, "labelLimit": 300,
        "symbolSize": 70, "symbolOpacity": 1, "columns": 3, "rowPadding": 4
    },
    "axis": {
        "labelFontSize": TYPE, "titleFontSize": TYPE, "titleFontWeight": "normal",
        "labelLimit": 220, "titleLimit": 500, "gridOpacity": 0.6,
        "labelFlush": False, "labelSeparation": 6, "labelOverlap": True
    },
    "axisQuantitative": {"tickCount": 8},
    # Of the weight of all type: a PDF has its fonts, if several, in an order that changes.
    "title": {
        "fontSize": TYPE, "fontWeight": "normal", "anchor": "start", "frame": "bounds", "offset": 6
    }
}  # fmt: skip


NO_KINDS: Mapping[str, Style] = {
    "initial model": Style(GREY, "circle"),
    PAPER: Style(GREY, OPEN_DIAMOND),
    TIE: Style("#BDBDBD", "square"),
}
"""What a legend has beside kinds."""


def kind_style(kind: str) -> Style:
    """Return the style of a kind, or of what a legend has beside kinds."""
    return NO_KINDS[kind] if kind in NO_KINDS else style_of_kind(kind)


def short(value: float) -> float:
    """Return four digits, which is more than can be seen."""
    return float(f"{value:.4g}")


def dots(
    frame: pd.DataFrame,
    axis: str,
    reference: float | None = None,
    labels: bool = True,
    legend: Sequence[str] = (),
    bars: str = "",
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
        bars: What the intervals are, below the title of the axis.
    """
    titles = {"value": axis, "low": "low", "high": "high", "paper": PAPER}
    frame = frame.copy()
    frame["baseline"] = frame["baseline"].astype(bool) if "baseline" in frame else False
    for column in titles:
        frame[column] = frame[column].astype(float).map(short) if column in frame else None
    frame["slot"] = frame["series"].where(~frame["baseline"], BASELINES)
    frame = frame.sort_values("baseline", kind="stable")
    known = {column: title for column, title in titles.items() if frame[column].notna().any()}
    styles = _styles(legend) if legend else _legend(frame, PAPER in known.values())
    lines, slots = frame["line"].unique().tolist(), frame["slot"].unique().tolist()
    slot_scale = alt.Scale(domain=slots, paddingInner=0, paddingOuter=0.4)
    base = alt.Chart(frame).encode(
        y=_lines(lines, labels),
        yOffset=alt.YOffset("slot:N", scale=slot_scale),
        color=_colour("series", styles),
        tooltip=_tooltip({"line": "of", "series": "series"}, known),
    )
    scale = alt.Scale(zero=False, nice=True)
    title = [axis, bars] if bars and (frame["low"] < frame["high"]).any() else axis
    x = {column: alt.X(f"{column}:Q", title=title, scale=scale) for column in titles}
    layers = [_points(base, 70).encode(x["value"], shape=_shape("series", styles))]
    if "low" in known:
        layers.insert(0, base.mark_rule(strokeWidth=1.6).encode(x["low"], x2="high:Q"))
    if "paper" in known:
        diamond = base.mark_point(filled=False, size=80, strokeWidth=1.4, opacity=1)
        printed = diamond.transform_filter("isValid(datum.paper)")
        layers.append(printed.encode(x["paper"], shape=alt.value("diamond")))
    if reference is not None:
        rule = alt.Chart(pd.DataFrame({"at": [reference]}))
        layers.insert(0, rule.mark_rule(strokeDash=[2, 3], color=GREY).encode(x="at:Q"))
    height = len(lines) * (max(len(slots), 2) * SLOT + GAP)
    return alt.LayerChart(layer=layers, height=height)


def _legend(frame: pd.DataFrame, has_paper: bool) -> dict[str, Style]:
    """Return the styles of kinds, the paper and baselines, in this order."""
    kinds, baselines = (
        frame.loc[frame["baseline"] == is_baseline, "series"].unique() for is_baseline in (0, 1)
    )
    return _styles([*kinds, *[PAPER] * has_paper]) | {
        name: Style(GREY, BASELINE_SHAPES[place % len(BASELINE_SHAPES)])
        for place, name in enumerate(baselines)
    }


def _styles(names: Sequence[str]) -> dict[str, Style]:
    return {name: kind_style(name) for name in names}


def _points(base: alt.Chart, size: int) -> alt.Chart:
    points: alt.Chart = base.mark_point(filled=True, size=size, opacity=1)
    return points


def _lines(lines: Sequence[str], labels: bool = True) -> alt.Y:
    """Return the axis of names; a long one is broken at its first hyphen."""
    broken = "length(datum.label) > 12 ? replace(datum.label, '-', '-\\n') : datum.label"
    axis = alt.Axis(
        labelExpr=broken, labelPadding=10, grid=False, ticks=False, domain=False, labels=labels
    )
    scale = alt.Scale(paddingInner=0.15, paddingOuter=0.05)
    return alt.Y("line:N", sort=list(lines), title=None, axis=axis, scale=scale)


def _colour(column: str, styles: Mapping[str, Style]) -> alt.Color:
    scale = alt.Scale(domain=list(styles), range=[style.colour for style in styles.values()])
    return alt.Color(f"{column}:N", title=None, scale=scale)


def _shape(column: str, styles: Mapping[str, Style]) -> alt.Shape:
    scale = alt.Scale(domain=list(styles), range=[style.shape for style in styles.values()])
    return alt.Shape(f"{column}:N", title=None, scale=scale)


def _tooltip(
    names: Mapping[str, str], numbers: Mapping[str, str], digits: str = ".3f"
) -> list[alt.Tooltip]:
    """Columns of names and of numbers with their titles."""
    texts = [alt.Tooltip(f"{column}:N", title=title) for column, title in names.items()]
    return texts + [
        alt.Tooltip(f"{column}:Q", title=title, format=digits) for column, title in numbers.items()
    ]


def stacked_shares(
    frame: pd.DataFrame, kinds: tuple[str, str], legend: bool = True
) -> alt.LayerChart:
    """Draw a bar per line of wins of the first kind, ties and wins of the second, in percent.

    The frame has the columns `line`, `first`, `tie`, `second`, and where the paper prints its own,
    `paper_first`, `paper_tie`, `paper_second`: a thin bar below. No legend is needed beside a chart
    of dots that has the tie in its own.
    """
    styles = _styles((kinds[0], TIE, kinds[1]))
    bars = alt.Chart(_segments(frame, "", styles))
    thin = alt.Chart(_segments(frame, "paper_", styles))
    y = _lines(list(frame["line"]))
    places: dict[str, Any] = {
        "x": alt.X(
            "start:Q",
            title="share (%)",
            scale=alt.Scale(domain=[0, 100], nice=False),
            axis=alt.Axis(values=[0, 25, 50, 75, 100]),
        ),
        "x2": "end:Q",
        "y": y,
        "color": _colour("who", styles) if legend else alt.Color("colour:N", scale=None),
        "tooltip": _tooltip({"line": "of", "who": "wins"}, {"share": "%"}, ".1f"),
    }
    number = bars.transform_filter("datum.share >= 7").mark_text(fontSize=TYPE - 1, yOffset=-3)
    ink = alt.Color("ink:N", scale=None, legend=None)
    middle = alt.X("middle:Q", title="share (%)")
    layers = [
        bars.mark_bar(height=18, yOffset=-3).encode(**places),
        thin.mark_bar(height=6, yOffset=11, opacity=0.55).encode(**places),
        number.encode(middle, y=y, text="text:N", color=ink),
    ]
    return alt.LayerChart(layer=layers, height=len(frame) * 40)


def _segments(frame: pd.DataFrame, prefix: str, styles: Mapping[str, Style]) -> pd.DataFrame:
    """Where the segments of every line's bar begin and end; nothing of lines without numbers."""
    rows = []
    for entry in frame.to_dict("records"):
        start = 0.0
        for (name, style), part in zip(styles.items(), ("first", "tie", "second"), strict=True):
            share = entry.get(f"{prefix}{part}")
            if pd.notna(share):
                numbers = (share, start, start + share, start + share / 2)
                names = (name, style.colour, style.ink, f"{share:.0f}")
                rows.append((entry["line"], *names, *map(short, numbers)))
                start += share
    columns = ["line", "who", "colour", "ink", "text", "share", "start", "end", "middle"]
    return pd.DataFrame(rows, columns=columns)


def curves(
    frame: pd.DataFrame, across: str, up: str, evaluations: bool = False, falling: bool = False
) -> alt.LayerChart:
    """Draw a line per run, coloured by kind.

    The frame has the columns `kind`, `run`, `x`, `y` and `order` (of the points of a run);
    `across` and `up` are the titles of the axes. Of `evaluations`, which are from 0 to 1, every
    point is marked. The horizontal axis may be `falling`, and is logarithmic then.
    """
    styles = _styles(frame["kind"].unique())
    scale = alt.Scale(type="log", reverse=True, nice=False) if falling else alt.Scale(nice=False)
    height = alt.Scale(domain=[0, 1]) if evaluations else alt.Scale(zero=False)
    base = alt.Chart(frame).encode(
        alt.X("x:Q", title=across, scale=scale),
        alt.Y("y:Q", title=up, scale=height),
        color=_colour("kind", styles),
        detail="run:N",
        tooltip=_tooltip({"run": "run"}, {"x": across, "y": up} if evaluations else {}, ".3g"),
    )
    layers = [base.mark_line(strokeWidth=1.5, opacity=0.75).encode(order="order:Q")]
    if evaluations:
        layers.append(_points(base, 40).encode(shape=_shape("kind", styles)))
    return alt.LayerChart(layer=layers, height=320)


def agreement(frame: pd.DataFrame, across: str, up: str) -> alt.LayerChart:
    """Draw a point per row with both intervals, and the diagonal on which both values agree.

    The frame has the columns `line`, `kind`, `x`, `x_low`, `x_high`, `y`, `y_low` and `y_high`;
    `across` and `up` are the titles of the axes.
    """
    styles = _styles(frame["kind"].unique())
    base = alt.Chart(frame).encode(
        color=_colour("kind", styles),
        tooltip=_tooltip({"line": "of", "kind": "kind"}, {"x": across, "y": up}),
    )
    rule = base.mark_rule(strokeWidth=1.4)
    scale = alt.Scale(domain=[0, 1], nice=False)
    x, y = alt.X("x:Q", title=across, scale=scale), alt.Y("y:Q", title=up, scale=scale)
    ends = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})
    layers = [
        alt.Chart(ends).mark_line(strokeDash=[2, 3], color=GREY, strokeWidth=1).encode(x, y),
        rule.encode(alt.X("x_low:Q", title=across), y, x2="x_high:Q"),
        rule.encode(x, alt.Y("y_low:Q", title=up), y2="y_high:Q"),
        _points(base, 70).encode(x, y, shape=_shape("kind", styles)),
    ]
    return alt.LayerChart(layer=layers, height=380)


def panels(
    charts: Sequence[tuple[str, alt.LayerChart]], columns: int, one_axis: bool = False
) -> Chart:
    """Return titled charts, `columns` or fewer in a line, with one horizontal axis if `one_axis`.

    A single chart without a title stays alone.
    """
    if len(charts) == 1 and not charts[0][0]:
        return charts[0][1]
    titled = [chart.properties(title=title or " ") for title, chart in charts]
    scale = alt.ScaleResolveMap(x="shared" if one_axis else "independent")
    columns = min(columns, len(charts))
    return alt.ConcatChart(concat=titled, columns=columns, resolve=alt.Resolve(scale=scale))


def as_svg(chart: alt.LayerChart) -> str:
    """Return a chart as SVG on white, for a page that runs no script."""
    from vl_convert import vegalite_to_svg

    spec = chart.to_dict(validate=False) | {"config": {**STYLE, "background": "white"}}
    return str(vegalite_to_svg(spec))
