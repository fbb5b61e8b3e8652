"""A grid's folder: `experiment.yaml`, a run folder for each cell, and what they share."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError
from rewardgap.experiments.cells import Cell, expand, name_models
from rewardgap.experiments.experiment import Experiment, Values
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run

# What may not change from one call to the next.
FIXED = ("name", "train", "eval", "settings")


@dataclass(frozen=True)
class Grid:
    """An experiment whose data are found and whose cells are known.

    Attributes:
        experiment: as it was read.
        folder: of the grid.
        train: specifications of the training data.
        held_out: a specification for each evaluation set.
        models: initial language models by name, as directories or hub ids.
        cells: each with its settings.
    """

    experiment: Experiment
    folder: Path
    train: str | list[str]
    held_out: Mapping[str, str]
    models: Mapping[str, str]
    cells: Mapping[Cell, Values]

    def config(self, cell: Cell, model: str) -> TrainConfig:
        """What a cell's run is told, from the initial model in `model`.

        Raises:
            UserError: a setting has a value that no run can have.
        """
        return TrainConfig(
            model=model,
            kind=cell.kind,
            train=self.train,
            eval=dict(self.held_out),
            out=str(self.run(cell).folder),
            seed=cell.seed,
            resume=True,
            **self.cells[cell],
        )

    def run(self, cell: Cell) -> Run:
        """A cell's run folder."""
        return Run(self.folder / cell.folder)

    def language_model(self, model: str) -> Path:
        """Where a model lies to which the data's tokens were added."""
        return self.folder / "initial" / model / "language_model"

    def initial_generations(self, model: str) -> Path:
        """The folder of what an untrained model answers."""
        return self.folder / "initial" / model / "generations"

    def generations(self, cell: Cell) -> Path:
        """The folder of what a cell's model answers."""
        return self.run(cell).folder / "generations"

    def forecast(self, model: str) -> Path:
        """The folder of a model's forecast."""
        return self.folder / "forecasts" / model


def plan(
    experiment: Experiment, folder: str, train: str | list[str], held_out: Mapping[str, str]
) -> Grid:
    """The grid of an experiment.

    Raises:
        UserError: two models have the same name, or a setting cannot be.
    """
    models = name_models(experiment.models)
    grid = Grid(experiment, Path(folder), train, held_out, models, expand(experiment))
    for cell in grid.cells:
        grid.config(cell, models[cell.model])
    return grid


def open_grid(grid: Grid) -> None:
    """Write `experiment.yaml`, into a new folder or over that of the same experiment.

    A grid may grow: cells of an earlier call stay among its cells.

    Raises:
        UserError: the folder holds another experiment, or files that are none.
    """
    if grid.folder.is_file():
        raise UserError(f"{grid.folder} is a file; choose another out")
    with alone(grid.folder):
        _write(grid, grid.folder / "experiment.yaml")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder and wait until no other process is in here with it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(grid: Grid, path: Path) -> None:
    wanted = _to_yaml(grid)
    if path.exists():
        known = _read(path)
        differing = [key for key in FIXED if known.get(key) != wanted[key]]
        if differing:
            raise UserError(
                f"{grid.folder} holds an experiment with another {', '.join(differing)}; "
                "choose another out"
            )
        wanted["cells"] += [each for each in known["cells"] if each not in wanted["cells"]]
    elif _is_taken(grid.folder):
        raise UserError(
            f"{grid.folder} is not an empty folder and holds no experiment; choose another out"
        )
    write_text(path, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))


def _is_taken(folder: Path) -> bool:
    return any(not path.name.endswith(".unfinished") for path in folder.iterdir())


def _to_yaml(grid: Grid) -> dict[str, Any]:
    experiment = grid.experiment
    return {
        "name": experiment.name,
        "claim": experiment.claim,
        "profile": experiment.profile,
        "train": {"name": experiment.train.name, "data": grid.train},
        "eval": {
            name: {"data": grid.held_out[name], "category": each.category, "twin_of": each.twin_of}
            for name, each in experiment.eval.items()
        },
        "settings": {key: each for key, each in experiment.settings.items() if key != "cache"},
        "generate": experiment.generate,
        "forecast": experiment.forecast,
        "cells": [asdict(cell) for cell in grid.cells],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: it is no grid's experiment") from error
    if not isinstance(values, dict) or not isinstance(values.get("cells"), list):
        raise UserError(f"{path} is no grid's experiment; choose another out")
    return values
