"""The page of a forecast: its sentences, and pictures of accuracy along training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.text import format_interval
from rewardgap.forecasting.verdict import Forecasts, best_rule, captions, recommend
from rewardgap.io.files import write_text
from rewardgap.io.pages import page_templates
from rewardgap.models.kinds.palette import GREY
from rewardgap.reporting.drawing import as_svg, kind_style

WIDTH, HEIGHT = 420, 230
PAIRS, LOSS = "pairs that training has learnt from", "training loss of a pair"
"""What accuracy is shown against."""


def write_page(path: Path, forecasts: Forecasts) -> None:
    """Write the page as HTML that runs no script and loads nothing; all text is escaped.

    Raises:
        UserError: The file cannot be written.
    """
    text = (
        page_templates("rewardgap.forecasting")
        .get_template("page.html")
        .render(
            captions=list(captions(forecasts)),
            sentences=recommend(forecasts),
            kinds=forecasts.kinds,
            sets=[_of_set(forecasts, name) for name in forecasts.theory],
        )
    )
    write_text(path, text)


def _of_set(forecasts: Forecasts, name: str) -> dict[str, Any]:
    """Return what the page shows of an evaluation set."""
    rule, of_rule = best_rule(forecasts, name)
    return {
        "name": name,
        "pictures": [as_svg(_chart(forecasts, name, along)) for along in _axes(forecasts)],
        "rule": f"{rule} wins",
        "of_rule": f"{of_rule.value:.3f}",
        "kinds": {
            kind: {
                "forecast": format_interval(forecasts.accuracy(name, kind)),
                "theory": f"{outcome.accuracy.value:.3f}",
            }
            for kind, outcome in forecasts.theory[name].items()
        },
    }


def _axes(forecasts: Forecasts) -> list[str]:
    """Return what accuracy can be shown against."""
    return [PAIRS, LOSS] if forecasts.predictions else [LOSS]


def _points(forecasts: Forecasts, name: str) -> Iterator[tuple[str, int, float, float]]:
    """Yield kind, pairs, loss and accuracy along training, of rehearsals or else of theory."""
    for kind, outcome in forecasts.theory[name].items():
        if forecasts.predictions:
            batch_size = forecasts.rehearsed[kind].batch_size
            for point in forecasts.predictions[name][kind].curve:
                yield kind, point.step * batch_size, point.loss, point.accuracy
        else:
            yield from ((kind, 0, loss, accuracy) for loss, accuracy in outcome.curve)


def _stops(
    forecasts: Forecasts, name: str
) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Yield kind, pairs, loss and interval of every kind's stopping point."""
    for kind, outcome in forecasts.theory[name].items():
        accuracy = forecasts.accuracy(name, kind)
        pairs, loss = 0, outcome.loss
        if forecasts.predictions:
            prediction = forecasts.predictions[name][kind]
            stop = next(point for point in prediction.curve if point.step == prediction.stop)
            pairs, loss = stop.step * forecasts.rehearsed[kind].batch_size, stop.loss
        yield kind, pairs, loss, accuracy.value, accuracy.low, accuracy.high


def _chart(forecasts: Forecasts, name: str, along: str) -> alt.LayerChart:
    """Draw accuracy along training by kind; the stopping point has its interval."""
    points = pd.DataFrame(_points(forecasts, name), columns=["kind", PAIRS, LOSS, "y"])
    stops = pd.DataFrame(_stops(forecasts, name), columns=["kind", PAIRS, LOSS, "y", "low", "high"])
    kinds = forecasts.kinds
    scale = alt.Scale(domain=kinds, range=[kind_style(kind).colour for kind in kinds])
    colour = alt.Color("kind:N", scale=scale, legend=alt.Legend(title=None))
    x = alt.X(f"{along}:Q", scale=alt.Scale(reverse=along is LOSS, nice=False, zero=along is PAIRS))
    y = alt.Y("y:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    chance = alt.Chart(pd.DataFrame({"y": [CHANCE]})).mark_rule(strokeDash=[2, 3], color=GREY)
    lines = alt.Chart(points).encode(x, y, color=colour, order=f"{PAIRS}:Q")
    marks = alt.Chart(stops).encode(x, color=colour)
    layers = [
        chance.encode(alt.Y("y:Q", title="accuracy")),
        lines.mark_line(strokeWidth=2),
        marks.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q", title="accuracy"), y2="high:Q"),
        marks.mark_point(filled=True, size=80, opacity=1).encode(y),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT)
