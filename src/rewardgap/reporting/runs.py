"""What folders hold: experiments of planned cells, and the runs that there are of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewardgap.errors import UserError
from rewardgap.io.grid_folder import (
    Cell,
    ExperimentRecord,
    GridFolder,
    SetRecord,
    read_experiment_record,
)
from rewardgap.io.run_folder import Run

RUN_KEYS = {"model", "kind", "seed", "train", "eval"}
"""What the configuration of a run has, and that of no other folder."""

DEPTH = 4
"""How far below a given folder runs are looked for."""


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
        loose = {path: Run(path).read_config() for path in paths if path not in grids}
        loose = {path: config for path, config in loose.items() if config.keys() >= RUN_KEYS}
        if not grids and not loose:
            raise UserError(f"{folder} is no run and holds none: name what `run` or `train` wrote")
        configs |= loose
        for record in map(read_experiment_record, grids):
            record = replace(record, cells=_distinct(record.cells))
            known = experiments.get(record.name)
            experiments[record.name] = _merge(known, record) if known else record
    return (*experiments.values(), *_experiments_of_runs(configs))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """The grids in a folder, and the configured folders outside them."""
    if GridFolder(folder).experiment.exists():
        yield folder
        return
    if Run(folder).config.exists():
        yield folder
    if depth and not Run(folder).log.exists():  # a run holds no further run
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _walk(path, depth - 1)


def _experiments_of_runs(configs: Mapping[Path, Mapping[str, Any]]) -> Iterator[ExperimentRecord]:
    """Runs outside grids: an experiment for each training set, named by it."""
    by_training: dict[tuple[str, ...], dict[Path, Mapping[str, Any]]] = {}
    for folder, config in configs.items():
        train = config["train"]
        training = (train,) if isinstance(train, str) else tuple(map(str, train))
        by_training.setdefault(training, {})[folder] = config
    short = [", ".join(Path(file).name for file in training) for training in by_training]
    for title, (training, runs) in zip(short, by_training.items(), strict=True):
        # Whole specifications where two training sets have files of the same names.
        name = title if short.count(title) == 1 else ", ".join(training)
        variations = _variations(list(runs.values()))
        cells = [
            Cell(_model_name(config["model"]), config["kind"], config["seed"], varied, Run(folder))
            for (folder, config), varied in zip(runs.items(), variations, strict=True)
        ]
        sets = dict.fromkeys(name for config in runs.values() for name in config["eval"] or {})
        yield ExperimentRecord(
            name=f"runs trained on {name}",
            claim="",
            profile=None,
            train=name,
            sets=tuple(map(SetRecord, sets)),
            cells=_distinct(cells),
            folders=tuple(runs),
        )


def _model_name(model: str) -> str:
    """A hub id as it is, a folder by its last name."""
    return Path(model).name if Path(model).is_absolute() or model.startswith(".") else model


def _variations(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells runs of the same model, kind and seed apart, as "key=value"; empty if nothing."""
    keys = [key for key in configs[0] if key not in RUN_KEYS | {"out", "device", "token_budget"}]
    values: dict[tuple[Any, ...], set[str]] = {}
    for config in configs:
        for key in keys:
            values.setdefault((*_identity(config), key), set()).add(str(config.get(key)))
    return [
        ", ".join(
            f"{key}={config.get(key)}" for key in keys if len(values[*_identity(config), key]) > 1
        )
        for config in configs
    ]


def _identity(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return config.get("model"), config.get("kind"), config.get("seed")


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

    Raises:
        UserError: Two folders hold the same cell.
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
