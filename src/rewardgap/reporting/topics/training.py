"""Training curves, and evaluation accuracy along training."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from rewardgap.reporting.drawing import curves, short
from rewardgap.reporting.results import Results
from rewardgap.reporting.runs import CURVES, Curve, Evaluation
from rewardgap.reporting.topic import NOTHING, Figure, TextTable, Topic, number

LOSSES = (0.6, 0.5, 0.3, 0.1, 0.03, 0.01)
"""Training losses at which the table compares kinds."""


def measure(results: Results) -> Sequence[Curve]:
    """Return the curves of the runs that have begun."""
    return results.curves


def tables(results: Results) -> Iterator[TextTable]:
    """Return by set and kind the accuracy when the training loss first was at most LOSSES."""
    runs: dict[tuple[str, str], list[Sequence[Evaluation]]] = {}
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


def _first_below(runs: Sequence[Sequence[Evaluation]], loss: float) -> str:
    firsts = (next((p.accuracy for p in points if p.loss <= loss), None) for points in runs)
    values = [value for value in firsts if value is not None]
    if not values:
        return NOTHING
    deviation = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
    return number(float(np.mean(values))) + deviation


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracy by set, against steps and against the loss, and the training curves."""
    columns = ["name", "run", "kind", "order", "x", "y"]
    evaluated = [
        (name, curve.run, curve.kind, point)
        for curve in results.curves
        for name, points in curve.evaluations.items()
        for point in points
    ]
    variants = {}
    shifted = {entry.name for entry in results.experiment.sets if entry.shift_of}
    names = dict.fromkeys(name for name, *_ in evaluated)
    for name in sorted(names, key=lambda known: known not in shifted):  # kinds part there
        points = [(run, kind, point) for known, run, kind, point in evaluated if known == name]
        for across, is_loss in (("training step", False), ("training loss", True)):
            frame = pd.DataFrame(
                [
                    (run, kind, point.step, x, short(point.accuracy))
                    for run, kind, point in points
                    for x in [short(max(point.loss, 1e-6)) if is_loss else point.step]
                ],
                columns=columns[1:],
            )
            chart = curves(frame, across, "accuracy", evaluations=True, falling=is_loss)
            variants[f"{name}, by {across}"] = chart
    yield Figure(
        "Along training",
        "Accuracy on an evaluation set while models were trained, a line per run. By training "
        "loss, which falls from left to right, kinds that learn at different speeds are compared "
        "at equal loss.",
        variants,
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
