"""Experiment trackers: what they are given, and how a resumed run continues its series in them."""

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError, reported
from rewardgap.io.files import read_json, write_text
from rewardgap.io.run_folder import Run

Track: TypeAlias = Callable[[Mapping[str, float]], None]
"""Is given a row of the log."""

PROJECT = "rewardgap"

NAMES = {
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "log_prob_chosen": "logps/chosen",
    "log_prob_rejected": "logps/rejected",
}
"""Figures of the log that TRL's trainers log too, and what they call them."""
EVALUATED = re.compile("eval_accuracy/(.*)", re.DOTALL)
UNFIT = re.compile(r"[^\w\-./ ]", re.ASCII)
"""What MLflow takes in no name."""


@dataclass(frozen=True)
class Series:
    """A run as trackers know it.

    Attributes:
        run: The run.
        done: The steps of the checkpoint that it goes on from; 0 for none.
        ids: An id of its own and, by tracker, the ids that were given to it; from `trackers.json`.
    """

    run: Run
    done: int
    ids: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name that it has in trackers, different from that of any other run."""
        return f"{self.run.folder.resolve().name}-{self.ids['id'][:8]}"


def _tensorboard(series: Series) -> dict[str, Any]:
    """Return what has events of steps that are taken again replaced."""
    return {"purge_step": series.done + 1}


def _wandb(series: Series) -> dict[str, Any]:
    folder = str(series.run.folder)
    return {"id": series.ids["id"], "name": series.name, "resume": "allow", "dir": folder}


def _mlflow(series: Series) -> dict[str, Any]:
    given = series.ids.get("mlflow")
    return {"run_id": given} if given else {"run_name": series.name}


def _trackio(series: Series) -> dict[str, Any]:
    return {"name": series.name, "resume": "allow"}


TRACKERS: Mapping[str, Callable[[Series], dict[str, Any]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
"""By name, the arguments that open a tracker for a series; accelerate opens it and writes to it."""


def refuse_absent_trackers(config: TrainConfig) -> None:
    """Refuse trackers that are not installed, which accelerate would leave out."""
    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in config.report_to:
        if name not in installed:
            remedy = f"pip install 'rewardgap[{name}]'"
            raise UserError(f"report_to: {name} is not installed; {remedy}")


@contextmanager
def open_trackers(
    accelerator: Accelerator, config: TrainConfig, run: Run, done: int
) -> Iterator[Track]:
    """Yield a function that gives a row of the log to the run's trackers, in the main process.

    Raises:
        UserError: A tracker cannot be opened, as where it asks for a login.
    """
    resumed = run.trackers.exists()
    ids = read_json(run.trackers) if resumed else {"id": uuid.uuid4().hex}
    series = Series(run, done, ids)
    options = {name: TRACKERS[name](series) for name in config.report_to}
    values = None if resumed else {key: str(value) for key, value in config.settings().items()}
    with reported(Exception, f"cannot report to {', '.join(config.report_to)}: "):
        accelerator.init_trackers(PROJECT, values, options)
        if "mlflow" in config.report_to:
            ids["mlflow"] = accelerator.get_tracker("mlflow", unwrap=True).info.run_id
    write_text(run.trackers, json.dumps(ids, indent=2) + "\n")
    try:
        yield lambda row: accelerator.log(as_tracked(row), step=int(row["step"]))
    finally:
        for tracker in accelerator.trackers:  # `end_training` would end the group of processes
            tracker.finish()


def as_tracked(row: Mapping[str, float]) -> dict[str, float]:
    """Return a row of the log under the names of TRL's trainers, where they have them."""
    return {UNFIT.sub("_", _tracked_name(name)): value for name, value in row.items()}


def _tracked_name(name: str) -> str:
    if evaluated := EVALUATED.fullmatch(name):
        return f"eval_{evaluated[1]}_{NAMES['accuracy']}"
    return NAMES.get(name, name)
