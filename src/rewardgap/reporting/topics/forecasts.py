"""Accuracy that was forecast before training, beside what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.drawing import agreement
from rewardgap.reporting.paper.printed import printed_separator_shares
from rewardgap.reporting.results import Results
from rewardgap.reporting.runs import ForecastAccuracy
from rewardgap.reporting.topic import NOTHING, Figure, TextTable, Topic, interval, number, once
from rewardgap.reporting.topics import accuracy


@dataclass(frozen=True)
class CheckedForecast:
    """A forecast, and the accuracy after training where it was measured."""

    forecast: ForecastAccuracy
    measured: Interval | None


@once
def measure(results: Results) -> Sequence[CheckedForecast]:
    """Put the measured accuracy of the seeds of a model beside every forecast."""
    by_model = accuracy.measure(results).by_model
    return [
        CheckedForecast(forecast, summary.accuracy if summary else None)
        for forecast in results.forecasts
        for summary in [by_model.get(forecast.name, {}).get((forecast.model, forecast.kind))]
    ]


def tables(results: Results) -> Iterator[TextTable]:
    """Return forecast and measured accuracy, and the shares of the max-margin separator."""
    shares = printed_separator_shares(results.experiment.name)
    texts = [f"{number(share)} ({models})" for models, share in shares.items()]
    printed = texts and f"; the paper prints for rewordings {join_names(texts)}, in footnote 3"
    yield TextTable(
        "Forecast and measured",
        "Accuracy that was forecast before training, by rehearsing it with a few pairs in each "
        "step, and accuracy after training; 95 % intervals. The share of u* is that of the pairs "
        "with a positive product with the "
        f"max-margin separator of the training pairs, where these can be separated{printed or ''}.",
        ["set", "initial model", "kind", "at training loss", "forecast", "measured", "share of u*"],
        [
            [
                *(known.name, known.model, known.kind, f"{known.loss:.2f}"),
                interval(known.accuracy),
                interval(entry.measured),
                NOTHING if known.separator_share is None else number(known.separator_share),
            ]
            for entry in measure(results)
            if entry.measured
            for known in [entry.forecast]
        ],
        3,
    )


def figures(results: Results) -> Iterator[Figure]:
    """Return a chart for every initial model."""
    columns = ["model", "line", "kind", "x", "x_low", "x_high", "y", "y_low", "y_high"]
    points = [
        (f.model, f.name, f.kind, *vars(f.accuracy).values(), *vars(entry.measured).values())
        for entry in measure(results)
        if entry.measured
        for f in [entry.forecast]
    ]
    frame = pd.DataFrame(points, columns=columns)
    yield Figure(
        "Forecast and measured",
        "Accuracy that was forecast before training, and what was measured after it. On the dotted "
        "line both agree.",
        {
            str(model): agreement(group, "forecast accuracy", "measured accuracy")
            for model, group in frame.groupby("model", sort=False)
        },
    )


TOPIC = Topic("forecasts", measure, tables=tables, figures=figures)
