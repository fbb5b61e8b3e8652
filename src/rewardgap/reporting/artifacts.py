"""What run folders and grids hold beside scores: training logs and forecasts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardgap.errors import UserError, first_line
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.io.grid_folder import Cell, ExperimentRecord, GridFolder

CURVE_POINTS = 120
"""Steps of a training curve that are shown."""
CURVES = ("loss", "accuracy", "margin")
EVALUATION = "eval_accuracy/"
"""What the key of an evaluation set's accuracy begins with in a log."""

LogLine = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """A training run.

    Attributes:
        run: Its name.
        kind: Its kind of reward model.
        steps: Numbers of the steps that are shown.
        values: Mean loss, accuracy and margin of the training pairs since the step before.
        evaluations: By evaluation set its accuracy along training, as (training loss, accuracy);
            the loss is the mean over the steps since the evaluation before.
    """

    run: str
    kind: str
    steps: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    evaluations: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ForecastAccuracy:
    """The accuracy that was forecast for a kind on a set, from an initial model.

    `loss` is the training loss at which it holds, and `separator_share` the share of the pairs with
    a positive product with the max-margin separator; None where training pairs are not separable.
    """

    model: str
    name: str
    kind: str
    accuracy: Interval
    loss: float
    separator_share: float | None = None


def read_curves(experiment: ExperimentRecord) -> list[Curve]:
    """Read the training curves of the runs that have begun.

    Raises:
        UserError: A log is damaged.
    """
    curves = [_read_curve(cell) for cell in experiment.cells if cell.run.log.exists()]
    return [curve for curve in curves if curve.steps]


def _read_curve(cell: Cell) -> Curve:
    path = cell.run.log
    text = _read_text(path)
    lines = text[: text.rfind("\n") + 1].splitlines()  # a line without an end is being written
    # Each kept point is the mean of the steps since the last: thinning must not hide a peak.
    rows = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    size = max(1, -(-len(rows) // CURVE_POINTS))
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    try:
        steps = tuple(int(group[-1]["step"]) for group in groups)
        present = [name for name in CURVES if rows and name in rows[0]]
        values = {name: tuple(_mean(group, name) for group in groups) for name in present}
        return Curve(str(cell), cell.kind, steps, values, _evaluations(rows))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no training log: {first_line(error)} is missing") from error


def _mean(group: Sequence[LogLine], name: str) -> float:
    return sum(float(row[name]) for row in group) / len(group)


def _evaluations(rows: Sequence[LogLine]) -> dict[str, tuple[tuple[float, float], ...]]:
    points: dict[str, list[tuple[float, float]]] = {}
    start = 0
    for end, row in enumerate(rows, start=1):
        accuracies = {key: row[key] for key in row if key.startswith(EVALUATION)}
        if accuracies:
            loss = _mean(rows[start:end], "loss")
            for key, accuracy in accuracies.items():
                points.setdefault(key.removeprefix(EVALUATION), []).append((loss, float(accuracy)))
            start = end
    return {name: tuple(values) for name, values in points.items()}


def read_forecasts(experiment: ExperimentRecord) -> list[ForecastAccuracy]:
    """Read the forecasts of a grid.

    Raises:
        UserError: A file is damaged.
    """
    folders = [path for folder in experiment.folders for path in GridFolder(folder).forecasts()]
    return [forecast for path in folders for forecast in _read_forecast(path / "forecast.json")]


def _read_forecast(path: Path) -> list[ForecastAccuracy]:
    try:
        return [
            ForecastAccuracy(
                path.parent.name,
                name,
                kind,
                Interval(*(float(numbers["accuracy"][end]) for end in ("value", "low", "high"))),
                float(numbers["loss"]),
                numbers.get("separator_share"),
            )
            for name, kinds in _parse(_read_text(path), str(path)).items()
            for kind, numbers in kinds.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no forecast: {first_line(error)}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {first_line(error)}") from error


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({first_line(error)})") from error
