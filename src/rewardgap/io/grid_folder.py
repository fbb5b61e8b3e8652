"""The folder of an experiment's runs: its paths, and `experiment.yaml`, written and read.

experiment.yaml                     the experiment, its sets and its cells
MODEL/KIND[~VARIATION]/seed-N       the run folder of a cell (`io.run_folder`), and in it
    generations.json                shares of correct responses, see `io.generations`
    generations/SET.jsonl           the responses
initial/MODEL/language_model        an initial language model that knows the tokens of the data
initial/MODEL/generations/SET.jsonl responses of the initial language model
forecasts/MODEL                     the forecast from an initial language model
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from rewardgap.errors import UserError, reported
from rewardgap.io.files import read_yaml, write_text
from rewardgap.io.run_folder import Run

FIXED = ("name", "train", "eval", "settings")
"""Keys of `experiment.yaml` that may not change from one call to the next."""

SET_KEYS = ("data", "category", "shift_of")
LONGEST_NAME = 255
"""Characters of a file's name that a file system takes."""
LEAD_KEYS = ("ahead", "behind", "set_name")
CHANCE = "chance"
"""Stands for a kind in a prediction."""
CELL_KEYS = ("model", "kind", "seed", "variation", "folder")


@dataclass(frozen=True)
class SetRecord:
    """An evaluation set of an experiment, as `experiment.yaml` names it.

    Attributes:
        name: Its name, as in the runs' score files.
        category: What has shifted since training, such as "token-level"; None if nobody says.
        shift_of: The set of the originals whose responses this one perturbs, record by record.
        data: The specification of its data; None if it is not known.
    """

    name: str
    category: str | None = None
    shift_of: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class ClaimedLead:
    """What a claim predicts: that one kind is more accurate than another on an evaluation set.

    Either kind may be CHANCE: an accuracy of one half.
    """

    ahead: str
    behind: str
    set_name: str


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        model: Name of the initial language model.
        kind: Kind of reward model.
        seed: Seed of the training run.
        variation: What differs from the experiment's settings; empty if nothing does.
        run: Its folder, which may hold nothing yet.
    """

    model: str
    kind: str
    seed: int
    variation: str
    run: Run

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Model, kind, seed and variation, which no other cell of the experiment has."""
        return self.model, self.kind, self.seed, self.variation

    @property
    def subject(self) -> str:
        """What kinds are compared within: the initial model, and the variation if there is one."""
        return f"{self.model}, {self.variation}" if self.variation else self.model

    @property
    def shares(self) -> Path:
        """The shares of correct responses of the trained model and of the initial one."""
        return self.run.folder / "generations.json"

    def answers(self, name: str) -> Path:
        """Return the file of the trained model's responses to the prompts of a set."""
        return self.run.folder / "generations" / f"{name}.jsonl"

    def __str__(self) -> str:
        return f"{self.subject}, {self.kind}, seed {self.seed}"


@dataclass(frozen=True)
class GridFolder:
    """The paths of an experiment's folder."""

    folder: Path

    @property
    def experiment(self) -> Path:
        """The experiment, its sets and its cells."""
        return self.folder / "experiment.yaml"

    def cell(self, model: str, kind: str, seed: int, variation: str = "") -> Cell:
        """Return a cell with its run folder."""
        varied = f"{kind}~{variation}" if variation else kind
        run = Run(self.folder / model / varied / f"seed-{seed}")
        return Cell(model, kind, seed, variation, run)

    def place(self, cell: Cell) -> str:
        """Return where a cell's run is in this folder, as "MODEL/KIND/seed-N"."""
        return cell.run.folder.relative_to(self.folder).as_posix()

    def language_model(self, model: str) -> Path:
        """Return the folder of an initial model to which the tokens of the data were added."""
        return self.folder / "initial" / model / "language_model"

    def initial_answers(self, model: str, name: str) -> Path:
        """Return the file of an initial model's responses to the prompts of a set."""
        return self.folder / "initial" / model / "generations" / f"{name}.jsonl"

    def forecast(self, model: str) -> Path:
        """Return the folder of the forecast from an initial model."""
        return self.folder / "forecasts" / model

    def forecasts(self) -> list[Path]:
        """Return the folders of all forecasts that are done."""
        return sorted(path.parent for path in self.folder.glob("forecasts/*/forecast.json"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder, and wait until no other process holds its lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class ExperimentRecord:
    """An experiment as its folder records it: sets to be judged on, and cells, done or not.

    Attributes:
        name: Its name.
        claim: What it is to show, in one sentence; may be empty.
        profile: The profile of the experiment file that was merged in, if any.
        train: Name of the training data.
        sets: The evaluation sets.
        cells: The planned runs.
        folders: Where the cells are; several if several machines worked on the experiment.
        generate: Names of the sets to whose prompts models are to respond.
        forecast: Whether accuracies are to be forecast from the initial models.
        train_data: Specifications of the training data; None if they are not known.
        settings: Keys of `rewardgap train` that all cells share.
        predicts: What the claim predicts, for tests to decide; empty if it has no such form.
    """

    name: str
    claim: str
    profile: str | None
    train: str
    sets: tuple[SetRecord, ...]
    cells: tuple[Cell, ...]
    folders: tuple[Path, ...]
    generate: tuple[str, ...] = ()
    forecast: bool = False
    train_data: str | list[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    predicts: tuple[ClaimedLead, ...] = ()


def write_experiment(record: ExperimentRecord) -> None:
    """Write `experiment.yaml`, into the one folder of the record, new or of the same experiment.

    An experiment may grow: cells of an earlier call stay among its cells.

    Raises:
        UserError: The folder holds another experiment, or files that are none.
    """
    (folder,) = record.folders
    grid = GridFolder(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file; choose another out")
    with grid.lock():
        values = _to_yaml(record, grid)
        if grid.experiment.exists():
            known = _to_yaml(read_experiment_record(folder), grid)
            differing = [key for key in FIXED if known[key] != values[key]]
            if differing:
                difference = f"holds an experiment with another {', '.join(differing)}"
                raise UserError(f"{folder} {difference}; choose another out")
            values["cells"] += [cell for cell in known["cells"] if cell not in values["cells"]]
        elif any(not path.name.endswith(".unfinished") for path in folder.iterdir()):
            occupied = f"{folder} is not an empty folder and holds no experiment"
            raise UserError(f"{occupied}; choose another out")
        write_text(grid.experiment, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _to_yaml(record: ExperimentRecord, grid: GridFolder) -> dict[str, Any]:
    return {
        "name": record.name,
        "claim": record.claim,
        "predicts": [
            {key: getattr(prediction, key) for key in LEAD_KEYS} for prediction in record.predicts
        ],
        "profile": record.profile,
        "train": {"name": record.train, "data": record.train_data},
        "eval": {
            entry.name: {key: getattr(entry, key) for key in SET_KEYS} for entry in record.sets
        },
        "settings": dict(record.settings),
        "generate": list(record.generate),
        "forecast": record.forecast,
        "cells": [
            dict(zip(CELL_KEYS, (*cell.key, grid.place(cell)), strict=True))
            for cell in record.cells
        ],
    }


def read_experiment_record(folder: Path) -> ExperimentRecord:
    """Read the `experiment.yaml` of a folder.

    Raises:
        UserError: It is missing or damaged, or lacks a key.
    """
    path = GridFolder(folder).experiment
    wrong = f"{path} is no grid's experiment: "
    values = read_yaml(path)
    with reported((KeyError, TypeError, ValueError, OverflowError), wrong):
        values = _typed(values, dict, "it")
        train = _typed(values["train"], dict, "train")
        sets = _typed(values["eval"], dict, "eval")
        return ExperimentRecord(
            name=str(values["name"]),
            claim=str(values.get("claim") or ""),
            profile=_typed(values.get("profile"), str | None, "profile"),
            train=str(train["name"]),
            sets=tuple(_read_set(path, *item) for item in sets.items()),
            cells=tuple(_read_cell(folder, entry) for entry in values["cells"]),
            folders=(folder,),
            generate=tuple(map(str, _typed(values.get("generate") or [], list, "generate"))),
            forecast=bool(values.get("forecast")),
            train_data=_typed(train.get("data"), (str, list, NoneType), "train.data"),
            settings=_typed(values.get("settings") or {}, dict, "settings"),
            predicts=tuple(map(_read_lead, values.get("predicts") or ())),
        )


def _typed(value: Any, types: Any, label: str) -> Any:
    """Return a value of these types; raise a `TypeError` for any other."""
    if not isinstance(value, types):
        raise TypeError(f"{label} is {value!r:.40}")
    return value


def refuse_old_keys(entry: Mapping[str, Any], where: str) -> None:
    """Refuse a key of an evaluation set that has another name now, which the error says."""
    if "twin_of" in entry:
        raise UserError(f"{where}: the key 'twin_of' is now named 'shift_of'; rename it")


def _read_set(path: Path, name: Any, entry: Mapping[str, Any]) -> SetRecord:
    label = f"eval.{name}"
    refuse_old_keys(_typed(entry, dict, label), f"{path}: {label}")
    keys = {key: _typed(entry.get(key), str | None, f"{label}.{key}") for key in SET_KEYS}
    return SetRecord(str(name), **keys)


def _read_lead(entry: Any) -> ClaimedLead:
    _typed(entry, dict, "a prediction")
    return ClaimedLead(*(str(entry[key]) for key in LEAD_KEYS))


def _read_cell(folder: Path, entry: Mapping[str, Any]) -> Cell:
    _typed(entry, dict, "a cell")
    model, kind, seed = str(entry["model"]), str(entry["kind"]), int(entry["seed"])
    place = Path(str(entry["folder"]))
    if any(len(part) > LONGEST_NAME for part in place.parts):
        raise ValueError(f"the folder {str(place)!r:.40} of a cell cannot be")
    return Cell(model, kind, seed, str(entry.get("variation") or ""), Run(folder / place))
