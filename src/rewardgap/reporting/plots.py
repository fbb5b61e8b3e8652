"""The parts of the page's charts: Plotly figures as plain dictionaries.

Kinds keep their colour; marks without one are tagged `meta: "ink"` and coloured by the page, which
knows whether it is light or dark. So are axes and lines.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.win_rates import WinRates
from rewardgap.reporting.colours import TIE, colour
from rewardgap.reporting.words import interval

ROW = 62
"""Pixels of a line of a chart."""
FRAME = 70
"""Pixels that the axis takes; the page adds those of the legend."""
SPREAD = 0.46
"""Height that the marks of a line take, where a line has height 1."""
CURVE_HEIGHT = 420

SYMBOLS = {
    "explicit": "circle",
    "implicit": "square",
    "generative": "diamond",
    "explicit-mean": "triangle-up",
    "implicit-no-reference": "triangle-down",
}

Plot = dict[str, Any]
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Series:
    """Marks of one sort: one value a line of the chart.

    Attributes:
        name: In the legend.
        values: A value a line; None leaves it empty.
        colour: Of the marks; None for the page's own.
        symbol: One of Plotly's.
        offset: How far below the line's middle the marks are, where a line has height 1.
    """

    name: str
    values: Sequence[Interval | None]
    colour: str | None
    symbol: str
    offset: float = 0.0


def kind_series(values: Mapping[str, Sequence[Interval | None]]) -> list[Series]:
    """A series a kind, spread over the height of a line."""
    step = SPREAD / max(len(values), 1)
    middle = (len(values) - 1) / 2
    return [
        Series(kind, some, colour(kind), SYMBOLS.get(kind, "hexagon"), (place - middle) * step)
        for place, (kind, some) in enumerate(values.items())
    ]


def dot_plot(
    lines: Sequence[str], series: Sequence[Series], title: str, reference: float | None = None
) -> Plot:
    """A line a name, from the top down, with the marks of every series and their intervals.

    Args:
        lines: Names of the lines.
        series: The marks.
        title: Of the axis.
        reference: Value of a dotted line, such as that of a coin.
    """
    shapes = [_between(line) for line in range(len(lines) - 1)]
    if reference is not None:
        shapes.append(_vertical(reference))
    layout = _lined(lines, {"title": {"text": title}}) | {"shapes": shapes}
    return {"data": [_marks(lines, each) for each in series], "layout": layout}


def _marks(lines: Sequence[str], series: Series) -> Plot:
    shown = [(y, each) for y, each in enumerate(series.values) if each is not None]
    trace: Plot = {
        "type": "scatter",
        "mode": "markers",
        "name": series.name,
        "x": [short(each.value) for _, each in shown],
        "y": [round(y + series.offset, 3) for y, _ in shown],
        "text": [f"{lines[y]}: {interval(each)}" for y, each in shown],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": {"symbol": series.symbol, "size": 10},
    }
    if any(each.high > each.low for _, each in shown):
        trace["error_x"] = errors([each for _, each in shown])
    return _inked(trace, series.colour)


def _inked(trace: Plot, shade: str | None) -> Plot:
    if shade is None:
        return {**trace, "meta": "ink"}
    return {**trace, "marker": {**trace["marker"], "color": shade, "line": {"color": shade}}}


def errors(values: Sequence[Interval]) -> Plot:
    """Error bars from intervals."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [short(each.high - each.value) for each in values],
        "arrayminus": [short(each.value - each.low) for each in values],
        "thickness": 1.5,
        "width": 3,
    }


def _lined(lines: Sequence[str], axis: Plot) -> Plot:
    return {
        "height": FRAME + ROW * len(lines),
        "xaxis": axis,
        "yaxis": {
            "tickvals": list(range(len(lines))),
            "ticktext": [_broken(name) for name in lines],
            "range": [len(lines) - 0.5, -0.5],
            "zeroline": False,
            "showgrid": False,
            "fixedrange": True,
        },
    }


def _broken(name: str) -> str:
    """A long name in two lines, so that it leaves room for the chart."""
    return re.sub(r"-(?=[a-z])", "-<br>", name, count=1) if len(name) > 12 else name


def _vertical(x: float) -> Plot:
    """A dotted line at a value."""
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", "layer": "between", **ends}


def _between(line: int) -> Plot:
    """A faint line below a line of the chart."""
    ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": line + 0.5, "y1": line + 0.5}
    return {"type": "line", "layer": "below", "name": "faint", **ends}


def stacked_shares(
    lines: Sequence[str],
    kinds: tuple[str, str],
    ours: Sequence[WinRates | None],
    paper: Sequence[Shares | None],
) -> Plot:
    """A bar a line of wins of the first kind, ties, wins of the second; the paper's below it."""
    mine = [(each.first, each.tie, each.second) if each else None for each in ours]
    data = []
    for place, (name, shade) in enumerate(
        ((kinds[0], colour(kinds[0])), ("tie", TIE), (kinds[1], colour(kinds[1])))
    ):
        data.append(_bars(lines, mine, place, name, shade, y=0.0, width=0.4))
        if any(paper):
            bars = _bars(lines, paper, place, f"{name}, the paper", shade, y=0.34, width=0.18)
            data.append({**bars, "opacity": 0.5, "showlegend": False, "textposition": "none"})
    axis = {"title": {"text": "share (%)"}, "range": [0, 100]}
    layout = _lined(lines, axis) | {"barmode": "stack", "legend": {"traceorder": "normal"}}
    return {"data": data, "layout": layout}


def _bars(
    lines: Sequence[str],
    shares: Sequence[Shares | None],
    place: int,
    name: str,
    shade: str,
    **position: float,
) -> Plot:
    shown = [(y, each[place]) for y, each in enumerate(shares) if each]
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": [short(share) for _, share in shown],
        "y": [y + position["y"] for y, _ in shown],
        "width": position["width"],
        "marker": {"color": shade},
        "text": [lines[y] for y, _ in shown],
        "texttemplate": "%{x:.0f}",
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "hovertemplate": "%{text}: %{x:.1f} %<extra>%{fullData.name}</extra>",
    }


def short(value: float) -> float:
    """Four digits, which is more than can be seen."""
    return float(f"{value:.4g}")
