"""The grid of an experiment: a training run for each model, kind, variation and seed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError, reported
from rewardgap.experiments.experiment import Experiment, Values, Variation
from rewardgap.io.grid_folder import Cell, ExperimentRecord, GridFolder, SetRecord


@dataclass(frozen=True)
class Grid:
    """An experiment whose data and cells are known.

    Attributes:
        experiment: The experiment as it was read.
        folder: The folder of its runs.
        train: Specifications of the training data.
        held_out: A specification for each evaluation set.
        models: Initial language models by name, as directories or hub ids.
        cells: The settings of every cell; cells of one model follow one another.
    """

    experiment: Experiment
    folder: GridFolder
    train: str | list[str]
    held_out: Mapping[str, str]
    models: Mapping[str, str]
    cells: Mapping[Cell, Values]

    def config(self, cell: Cell, model: str) -> TrainConfig:
        """Return the configuration of a cell's run, from the initial model in `model`.

        Raises:
            UserError: A setting has a value that no run can have.
        """
        return TrainConfig(
            model=model,
            kind=cell.kind,
            train=self.train,
            eval=dict(self.held_out),
            out=str(cell.run.folder),
            seed=cell.seed,
            resume=True,
            **self.cells[cell],
        )

    def record(self) -> ExperimentRecord:
        """Return what `experiment.yaml` says of the experiment."""
        experiment = self.experiment
        return ExperimentRecord(
            name=experiment.name,
            claim=experiment.claim,
            profile=experiment.profile,
            train=experiment.train.name,
            sets=tuple(
                SetRecord(name, source.category, source.shift_of, self.held_out[name])
                for name, source in experiment.eval.items()
            ),
            cells=tuple(self.cells),
            folders=(self.folder.folder,),
            generate=tuple(experiment.generate),
            forecast=experiment.forecast,
            train_data=self.train,
            settings={key: value for key, value in experiment.settings.items() if key != "cache"},
            predicts=experiment.predictions,
        )


def plan(
    experiment: Experiment, folder: str, train: str | list[str], held_out: Mapping[str, str]
) -> Grid:
    """Return the grid of an experiment.

    Raises:
        UserError: Two models have the same name, or a setting has a value that no run can have.
    """
    grid_folder = GridFolder(Path(folder))
    models = name_models(experiment.models)
    cells = {
        grid_folder.cell(model, kind, seed, variation.name): settings
        for model in models
        for variation in (Variation(), *experiment.variations)
        for settings in [{**experiment.settings, **variation.settings}]
        for seed in experiment.seeds
        for kind in experiment.kinds
        if variation.kinds is None or kind in variation.kinds
    }
    grid = Grid(experiment, grid_folder, train, held_out, models, cells)
    for cell in cells:
        grid.config(cell, models[cell.model])
    return grid


def name_models(models: Sequence[str]) -> dict[str, str]:
    """Return directories and hub ids by the last part of their paths; directories made absolute.

    Raises:
        UserError: Two have the same name.
    """
    by_name: dict[str, str] = {}
    for model in models:
        with reported((OSError, RuntimeError, ValueError), f"models: {model!r:.80}: "):
            folder = Path(model).expanduser()
            # Links are kept: the name that the user chose is that of the link.
            place = os.path.abspath(folder) if folder.is_dir() else model
        name = Path(place).name
        if name in by_name:
            raise UserError(f"two models are named {name}: {by_name[name]} and {place}; rename one")
        by_name[name] = place
    return by_name
