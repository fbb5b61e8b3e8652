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
    found: dict[str, ExperimentRecord] = {}
    runs: dict[Path, Mapping[str, Any]] = {}
    for folder in folders:
        grids, outside = _read_folder(Path(folder))
        runs |= outside
        for experiment in grids:
            known = found.get(experiment.name)
            found[experiment.name] = _merge(known, experiment) if known else experiment
    return (*found.values(), *_read_runs(runs))


def _read_folder(folder: Path) -> tuple[list[ExperimentRecord], dict[Path, Mapping[str, Any]]]:
    """The grids in a folder, and the configurations of the runs outside them."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found: list[ExperimentRecord] = []
    runs: dict[Path, Mapping[str, Any]] = {}
    for path in _walk(folder, DEPTH):
        if GridFolder(path).experiment.exists():
            record = read_experiment_record(path)
            found.append(replace(record, cells=_distinct(record.cells)))
        elif (config := Run(path).read_config()).keys() >= RUN_KEYS:
            runs[path] = config
    if not found and not runs:
        raise UserError(f"{folder} is no run and holds none: name what `run` or `train` wrote")
    return found, runs


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


def _read_runs(configs: Mapping[Path, Mapping[str, Any]]) -> Iterator[ExperimentRecord]:
    """Runs outside grids: an experiment for each training set, named by it."""
    by_training: dict[tuple[str, ...], dict[Path, Mapping[str, Any]]] = {}
    for folder, config in configs.items():
        given = config["train"]
        training = (given,) if isinstance(given, str) else tuple(map(str, given))
        by_training.setdefault(training, {})[folder] = config
    titles = _titles(list(by_training))
    for title, some in zip(titles, by_training.values(), strict=True):
        variations = _variations(list(some.values()))
        names = dict.fromkeys(name for config in some.values() for name in config["eval"] or {})
        yield ExperimentRecord(
            name=f"runs trained on {title}",
            claim="",
            profile=None,
            train=title,
            sets=tuple(map(SetRecord, names)),
            cells=_distinct(
                [
                    Cell(
                        _model_name(each["model"]), each["kind"], each["seed"], varied, Run(folder)
                    )
                    for (folder, each), varied in zip(some.items(), variations, strict=True)
                ]
            ),
            folders=tuple(some),
        )


def _titles(trainings: Sequence[tuple[str, ...]]) -> list[str]:
    """The files' last names, joined; whole specifications where others have the same names."""
    short = [", ".join(Path(each).name for each in training) for training in trainings]
    return [
        name if short.count(name) == 1 else ", ".join(training)
        for name, training in zip(short, trainings, strict=True)
    ]


def _model_name(model: str) -> str:
    """A hub id as it is, a folder by its last name."""
    return Path(model).name if Path(model).is_absolute() or model.startswith(".") else model


def _variations(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells runs of the same model, kind and seed apart, as "key=value"; empty if nothing."""
    keys = [key for key in configs[0] if key not in RUN_KEYS | {"out", "device", "token_budget"}]

    def rivals(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        same = ("model", "kind", "seed")
        return [each for each in configs if all(each.get(key) == config.get(key) for key in same)]

    return [
        ", ".join(
            f"{key}={config.get(key)}"
            for key in keys
            if len({str(each.get(key)) for each in rivals(config)}) > 1
        )
        for config in configs
    ]


def _merge(first: ExperimentRecord, second: ExperimentRecord) -> ExperimentRecord:
    """One experiment of two folders, such as a grid that two machines worked on."""
    sets = {each.name: each for each in first.sets}
    for each in second.sets:
        known = sets.setdefault(each.name, each)
        if (known.category, known.shift_of) != (each.category, each.shift_of):
            raise UserError(
                f"{second.folders[0]} and {first.folders[0]} disagree on the category or "
                f"shift_of of {each.name} in the experiment {first.name!r}: report them apart"
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
    found: dict[tuple[str, str, int, str], Cell] = {}
    for cell in cells:
        known = found.setdefault(cell.key, cell)
        if known is cell:
            continue
        if known.run.folder.resolve() == cell.run.folder.resolve() or cell.run.config.exists():
            if known.run.config.exists():
                raise UserError(
                    f"two runs of one name ({cell}): {known.run.folder} and {cell.run.folder}; "
                    "give only one of them"
                )
            found[cell.key] = cell
    return tuple(found.values())
