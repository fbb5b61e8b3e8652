"""Training curves, and evaluation accuracy along training."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from rewardgap.reporting.drawing import curves, short
from rewardgap.reporting.results import Results
from rewardgap.reporting.runs import CURVES, Curve
from rewardgap.reporting.topic import NOTHING, Figure, TextTable, Topic, number

LOSSES = (0.6, 0.5, 0.3, 0.1, 0.03, 0.01)
"""Training losses at which the table compares kinds."""


def measure(results: Results) -> Sequence[Curve]:
    """Return the curves of the runs that have begun."""
    return results.curves


def tables(results: Results) -> Iterator[TextTable]:
    """Return by set and kind the accuracy when the training loss first was at most LOSSES."""
    runs: dict[tuple[str, str], list[Sequence[tuple[float, float]]]] = {}
    for curve in results.curves:
        for name, points in curve.evaluations.items():
            runs.setdefault((name, curve.kind), []).append(points)
    yield TextTable(
        "Accuracy at equal training loss",
        "Evaluation accuracy when the training loss (its mean since the evaluation before) first "
        "was at most the heading; mean over the runs that came so far ± their standard deviation.",
        ["set", "kind", *(f"{loss:g}" for loss in LOSSES)],
        [[*key, *(_first_below(group, loss) for loss in LOSSES)] for key, group in runs.items()],
        2,
    )


def _first_below(runs: Sequence[Sequence[tuple[float, float]]], loss: float) -> str:
    firsts = (next((y for x, y in points if x <= loss), None) for points in runs)
    values = [value for value in firsts if value is not None]
    if not values:
        return NOTHING
    deviation = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
    return number(float(np.mean(values))) + deviation


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracy against training loss by set, and the training curves."""
    columns = ["name", "run", "kind", "order", "x", "y"]
    evaluated = [
        (name, curve.run, curve.kind, place, short(max(loss, 1e-6)), short(accuracy))
        for curve in results.curves
        for name, points in curve.evaluations.items()
        for place, (loss, accuracy) in enumerate(points)
    ]
    along = pd.DataFrame(evaluated, columns=columns).groupby("name", sort=False)
    yield Figure(
        "Along training",
        "Evaluation accuracy against training loss, which falls from left to right: kinds that "
        "learn at different speeds are compared at equal loss. A line per run.",
        {
            str(name): curves(frame[columns[1:]], "training loss", "accuracy", points=True)
            for name, frame in along
        },
    )
    trained = [
        (name, curve.run, curve.kind, step, step, short(value))
        for name in CURVES
        for curve in results.curves
        for step, value in zip(curve.steps, curve.values.get(name, ()), strict=False)
    ]
    steps = pd.DataFrame(trained, columns=columns).groupby("name", sort=False)
    yield Figure(
        "Training",
        "Every run's training pairs, step by step; a line per run, coloured by kind.",
        {str(name): curves(frame[columns[1:]], "step", str(name)) for name, frame in steps},
        folded=True,
    )


TOPIC = Topic("training", measure, tables=tables, figures=figures)
