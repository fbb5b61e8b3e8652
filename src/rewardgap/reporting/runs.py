"""What folders hold: experiments of planned cells, their runs, training logs and forecasts."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from rewardgap.errors import UserError, reported
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.io.files import read_json, read_number
from rewardgap.io.grid_folder import (
    Cell,
    ExperimentRecord,
    GridFolder,
    SetRecord,
    read_experiment_record,
)
from rewardgap.io.run_folder import NO_FIGURES, RUN_KEYS, LogLine, Run

DEPTH = 4
"""How far below a given folder runs are looked for."""
CURVE_POINTS = 120
"""Steps of a training curve that are shown."""
CURVES = ("loss", "accuracy", "margin")
EVALUATION = "eval_accuracy/"
"""What the key of an evaluation set's accuracy begins with in a log."""
REMEDY = "; remove the file to report without it"


class Evaluation(NamedTuple):
    """The accuracy on an evaluation set after a step.

    `loss` is that of training, its mean over the steps since the evaluation before.
    """

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Curve:
    """A training run.

    Attributes:
        run: Its name.
        kind: Its kind.
        steps: Numbers of the steps that are shown.
        values: Mean loss, accuracy and margin of the training pairs since the step before.
        evaluations: By evaluation set its accuracy along training.
    """

    run: str
    kind: str
    steps: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    evaluations: Mapping[str, tuple[Evaluation, ...]]


@dataclass(frozen=True)
class ForecastAccuracy:
    """The accuracy forecast for a kind on a set from an initial model, at a training loss.

    `separator_share` is the share of the pairs with a positive product with the max-margin
    separator; None where training pairs are not separable.
    """

    model: str
    name: str
    kind: str
    accuracy: Interval
    loss: float
    separator_share: float | None = None


def read_grids(folders: Sequence[str]) -> tuple[ExperimentRecord, ...]:
    """Read grids, run folders, and folders of either; experiments of one name become one.

    Raises:
        UserError: A folder holds no run, a file is not what it should be, or two runs have the
            same experiment, model, kind, seed and variation.
    """
    experiments: dict[str, ExperimentRecord] = {}
    configs: dict[Path, Mapping[str, Any]] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        paths = list(_walk(folder, DEPTH))
        grids = [path for path in paths if GridFolder(path).experiment.exists()]
        runs = [path for path in paths if path not in grids and _is_run(path)]
        loose = {path: Run(path).read_config() for path in runs}
        if not grids and not loose:
            raise UserError(f"{folder} is no run and holds none: name what `run` or `train` wrote")
        configs |= loose
        for record in map(read_experiment_record, grids):
            record = replace(record, cells=_distinct(record.cells))
            known = experiments.get(record.name)
            experiments[record.name] = _merge(known, record) if known else record
    return (*experiments.values(), *_experiments_of_runs(configs))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Return the grids in a folder, and the configured folders outside them."""
    if GridFolder(folder).experiment.exists():
        yield folder
        return
    if Run(folder).config.exists():
        yield folder
    if depth and not Run(folder).log.exists():  # a run holds no further run
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _walk(path, depth - 1)


def _is_run(folder: Path) -> bool:
    return Run(folder).read_values().keys() >= RUN_KEYS.keys()


def _experiments_of_runs(configs: Mapping[Path, Mapping[str, Any]]) -> Iterator[ExperimentRecord]:
    """Return runs outside grids: an experiment for each training set, named by it."""
    by_training: defaultdict[tuple[str, ...], dict[Path, Mapping[str, Any]]] = defaultdict(dict)
    for folder, config in configs.items():
        train = config["train"]
        training = (train,) if isinstance(train, str) else tuple(map(str, train))
        by_training[training][folder] = config
    short = [", ".join(_short_name(file) for file in training) for training in by_training]
    for title, (training, runs) in zip(short, by_training.items(), strict=True):
        # Whole specifications where two training sets have files of the same names.
        name = title if short.count(title) == 1 else ", ".join(training)
        variations = _variations(list(runs.values()))
        cells = []
        for (folder, config), varied in zip(runs.items(), variations, strict=True):
            model = config["model"]
            if Path(model).is_absolute() or model.startswith("."):
                model = Path(model).name  # a folder; a hub id stays as it is
            cells.append(Cell(model, config["kind"], config["seed"], varied, Run(folder)))
        names = dict.fromkeys(name for config in runs.values() for name in config["eval"] or {})
        sets, title = tuple(map(SetRecord, names)), f"runs trained on {name}"
        yield ExperimentRecord(title, "", None, name, sets, _distinct(cells), tuple(runs))


def _short_name(spec: str) -> str:
    """Return the name of a file or source without its folder and options."""
    return Path(spec.partition("?")[0]).name


def _variations(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write what tells runs of one model, kind and seed apart, as "key=value"; maybe nothing."""
    keys = [key for key in configs[0] if key not in {*RUN_KEYS, "out", "device", "token_budget"}]
    runs = [(config.get("model"), config.get("kind"), config.get("seed")) for config in configs]
    values: defaultdict[tuple[Any, ...], set[str]] = defaultdict(set)
    for run, config in zip(runs, configs, strict=True):
        for key in keys:
            values[run, key].add(str(config.get(key)))
    return [
        ", ".join(f"{key}={config.get(key)}" for key in keys if len(values[run, key]) > 1)
        for run, config in zip(runs, configs, strict=True)
    ]


def _merge(first: ExperimentRecord, second: ExperimentRecord) -> ExperimentRecord:
    """One experiment of two folders, such as a grid that two machines worked on."""
    sets = {entry.name: entry for entry in first.sets}
    for entry in second.sets:
        known = sets.setdefault(entry.name, entry)
        if (known.category, known.shift_of) != (entry.category, entry.shift_of):
            raise UserError(
                f"{second.folders[0]} and {first.folders[0]} disagree on the category or "
                f"shift_of of {entry.name} in the experiment {first.name!r}: report them apart"
            )
    return replace(
        first,
        sets=tuple(sets.values()),
        cells=_distinct([*first.cells, *second.cells]),
        folders=first.folders + second.folders,
    )


def _distinct(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Cells by name; of a cell that was begun in one folder and only planned in another, the first.

    Raises UserError if two folders hold the same cell.
    """
    by_key: dict[tuple[str, str, int, str], Cell] = {}
    for cell in cells:
        known = by_key.setdefault(cell.key, cell)
        if known is cell:
            continue
        if known.run.folder.resolve() == cell.run.folder.resolve() or cell.run.config.exists():
            if known.run.config.exists():
                raise UserError(
                    f"two runs of one name ({cell}): {known.run.folder} and {cell.run.folder}; "
                    "give only one of them"
                )
            by_key[cell.key] = cell
    return tuple(by_key.values())


def read_curves(experiment: ExperimentRecord) -> list[Curve]:
    """Read the training curves of the runs that have begun.

    Raises:
        UserError: A log is damaged.
    """
    curves = [_read_curve(cell) for cell in experiment.cells if cell.run.log.exists()]
    return [curve for curve in curves if curve.steps]


def _read_curve(cell: Cell) -> Curve:
    rows = cell.run.read_log(REMEDY)
    # Each kept point is the mean of the steps since the last: thinning must not hide a peak.
    size = max(1, -(-len(rows) // CURVE_POINTS))
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    with reported(KeyError, f"{cell.run.log} is no training log: ", REMEDY):
        steps = tuple(int(group[-1]["step"]) for group in groups)
        present = [name for name in CURVES if rows and name in rows[0]]
        values = {name: tuple(_mean(group, name) for group in groups) for name in present}
        return Curve(str(cell), cell.kind, steps, values, _evaluations(rows))


def _mean(group: Sequence[LogLine], name: str) -> float:
    return sum(row[name] for row in group) / len(group)


def _evaluations(rows: Sequence[LogLine]) -> dict[str, tuple[Evaluation, ...]]:
    points: dict[str, list[Evaluation]] = {}
    start = 0
    for end, row in enumerate(rows, start=1):
        accuracies = {key: row[key] for key in row if key.startswith(EVALUATION)}
        if accuracies:
            loss = _mean(rows[start:end], "loss")
            for key, accuracy in accuracies.items():
                point = Evaluation(int(row["step"]), loss, accuracy)
                points.setdefault(key.removeprefix(EVALUATION), []).append(point)
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
    sets = read_json(path)
    with reported(NO_FIGURES, f"{path} is no forecast: ", REMEDY):
        return [
            _forecast(path.parent.name, name, kind, numbers)
            for name, kinds in sets.items()
            for kind, numbers in kinds.items()
        ]


def _forecast(model: str, name: str, kind: str, numbers: Mapping[str, Any]) -> ForecastAccuracy:
    ends = (read_number(numbers["accuracy"][end]) for end in ("value", "low", "high"))
    share = numbers.get("separator_share")
    loss = read_number(numbers["loss"])
    share = None if share is None else read_number(share)
    return ForecastAccuracy(model, name, kind, Interval(*ends), loss, share)
