"""What run folders and grids hold beside scores: training logs, generations, forecasts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardgap.errors import UserError, first_line
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.io.generations import read_answers, read_shares
from rewardgap.io.grid_folder import Cell, ExperimentRecord, GridFolder

CURVE_POINTS = 120
"""Steps of a training curve that are shown."""

CURVES = ("loss", "accuracy", "margin")


EVALUATION = "eval_accuracy/"
"""What the key of an evaluation set's accuracy begins with in a log."""

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """A training run.

    Attributes:
        steps: Numbers of the steps that are shown.
        values: Mean loss, accuracy and margin of the training pairs since the step before.
        evaluations: By evaluation set its accuracy along training, as (training loss, accuracy);
            the loss is the mean over the steps since the evaluation before.
    """

    steps: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    evaluations: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Generated:
    """Share of correct generations of a trained model and of its initial model, of `n` each.

    `turned` are the numbers of prompts that only the trained and that only the initial model
    answers rightly; None where the answers themselves are not there.
    """

    correct: float
    initial: float | None
    n: int
    turned: tuple[int, int] | None = None


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


def read_curves(experiment: ExperimentRecord) -> dict[Cell, Curve]:
    """Read the training curves of the runs that have begun.

    Raises:
        UserError: A log is damaged.
    """
    logs = {cell: cell.run.log for cell in experiment.cells}
    curves = {cell: _read_curve(path) for cell, path in logs.items() if path.exists()}
    return {cell: curve for cell, curve in curves.items() if curve.steps}


def _read_curve(path: Path) -> Curve:
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
        return Curve(steps, values, _evaluations(rows))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no training log: {first_line(error)} is missing") from error


def _mean(group: Sequence[Line], name: str) -> float:
    return sum(float(row[name]) for row in group) / len(group)


def _evaluations(rows: Sequence[Line]) -> dict[str, tuple[tuple[float, float], ...]]:
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


def read_generations(experiment: ExperimentRecord) -> dict[Cell, dict[str, Generated]]:
    """Read by run and set the shares of correct generations, where a run has generated.

    Raises:
        UserError: A file is damaged.
    """
    return {
        cell: {
            name: Generated(
                share.correct, share.initial, share.n, _count_turned(experiment, cell, name)
            )
            for name, share in read_shares(cell.shares).items()
        }
        for cell in experiment.cells
        if cell.shares.exists()
    }


def _count_turned(experiment: ExperimentRecord, cell: Cell, name: str) -> tuple[int, int] | None:
    folders = [path for path in experiment.folders if cell.run.folder.is_relative_to(path)]
    if not folders:
        return None
    trained, initial = cell.answers(name), GridFolder(folders[0]).initial_answers(cell.model, name)
    if not (trained.exists() and initial.exists()):
        return None
    after, before = (
        {answer.id: answer.correct for answer in read_answers(path)} for path in (trained, initial)
    )
    if after.keys() != before.keys():
        raise UserError(f"{trained} and {initial} answer different prompts: remove the older one")
    return (
        sum(after[prompt] and not before[prompt] for prompt in after),
        sum(before[prompt] and not after[prompt] for prompt in after),
    )


def read_forecasts(experiment: ExperimentRecord) -> list[ForecastAccuracy]:
    """Read the forecasts of a grid.

    Raises:
        UserError: A file is damaged.
    """
    paths = [
        path / "forecast.json"
        for folder in experiment.folders
        for path in GridFolder(folder).forecasts()
    ]
    return [forecast for path in paths for forecast in _read_forecast(path)]


def _read_forecast(path: Path) -> list[ForecastAccuracy]:
    try:
        return [
            ForecastAccuracy(
                path.parent.name,
                name,
                kind,
                Interval(**_bounds(numbers["accuracy"])),
                float(numbers["loss"]),
                numbers.get("separator_share"),
            )
            for name, kinds in _parse(_read_text(path), str(path)).items()
            for kind, numbers in kinds.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no forecast: {first_line(error)}") from error


def _bounds(accuracy: Mapping[str, float]) -> dict[str, float]:
    return {key: float(accuracy[key]) for key in ("value", "low", "high")}


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
