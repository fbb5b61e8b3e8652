"""Accuracy that was forecast before training, beside what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.text import counted, join_names
from rewardgap.reporting.drawing import agreement
from rewardgap.reporting.paper.printed import printed_separator_shares
from rewardgap.reporting.results import Results
from rewardgap.reporting.runs import ForecastAccuracy
from rewardgap.reporting.topic import (
    MOST_NAMED,
    NOTHING,
    Figure,
    Finding,
    TextTable,
    Topic,
    interval,
    number,
    once,
)
from rewardgap.reporting.topics import accuracy


@dataclass(frozen=True)
class CheckedForecast:
    """A forecast, and the accuracy after training where it was measured."""

    forecast: ForecastAccuracy
    measured: Interval | None

    @property
    def error(self) -> float:
        """Forecast less measured accuracy."""
        return self.forecast.accuracy.value - (self.measured.value if self.measured else 0.0)

    @property
    def agrees(self) -> bool:
        """Whether the two intervals overlap."""
        ours, theirs = self.measured, self.forecast.accuracy
        return ours is not None and ours.low <= theirs.high and theirs.low <= ours.high

    @property
    def in_words(self) -> str:
        """How forecast and measurement compare."""
        if self.agrees:
            return "agreed"
        return f"missed, {number(abs(self.error))} too {'high' if self.error > 0 else 'low'}"


@once
def measure(results: Results) -> Sequence[CheckedForecast]:
    """Put the measured accuracy of the seeds of a model beside every forecast."""
    by_model = accuracy.measure(results).by_model
    return [
        CheckedForecast(forecast, summary.accuracy if summary else None)
        for forecast in results.forecasts
        for summary in [by_model.get(forecast.name, {}).get((forecast.model, forecast.kind))]
    ]


def sentences(results: Results) -> Iterator[Finding]:
    """Return how many forecasts training agreed with, and which missed most."""
    known = [entry for entry in measure(results) if entry.measured]
    if not known:
        return
    missed = sorted((e for e in known if not e.agrees), key=lambda entry: -abs(entry.error))
    text = f"Training agreed with {len(known) - len(missed)} of {counted(len(known), 'forecast')}"
    if not missed:
        yield Finding("alike", f"{text} (the intervals overlap).")
        return
    farthest = [
        f"{f.kind} on {f.name} by {number(abs(entry.error))} (forecast {number(f.accuracy.value)}, "
        f"measured {number(entry.measured.value)})"
        for entry in missed[:MOST_NAMED]
        for f in [entry.forecast]
        if entry.measured
    ]
    which = "the farthest missed" if len(missed) > MOST_NAMED else "missed"
    yield Finding("caution", f"{text}; {which} {join_names(farthest)}.")


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
        [
            "set",
            "verdict",
            "initial model",
            "kind",
            "at loss",
            "forecast",
            "measured",
            "share of u*",
        ],
        [
            [
                *(known.name, entry.in_words, known.model, known.kind, f"{known.loss:.2f}"),
                interval(known.accuracy),
                interval(entry.measured),
                NOTHING if known.separator_share is None else number(known.separator_share),
            ]
            for entry in measure(results)
            if entry.measured
            for known in [entry.forecast]
        ],
        4,
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
        " ".join(finding.text for finding in sentences(results))
        + " Across: accuracy that was forecast before training; up: what was measured after it. "
        "On the dotted line both are equal. Bars: 95 % intervals.",
        {
            str(model): agreement(group, "forecast accuracy", "measured accuracy")
            for model, group in frame.groupby("model", sort=False)
        },
    )


TOPIC = Topic("forecasts", measure, sentences=sentences, tables=tables, figures=figures)
