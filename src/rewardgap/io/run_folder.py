"""Run folders: the paths in them, and how a run is started or resumed."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from rewardgap.errors import UserError, reported
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import (
    CHECKSUMS,
    differing_keys,
    find_damaged,
    read_json,
    read_number,
    read_yaml,
    refuse_damaged,
    write_checksums,
    write_text,
)
from rewardgap.io.lock import LOCK

logger = logging.getLogger(__name__)

RUN_KEYS = {"model": str, "kind": str, "seed": int, "train": (str, list), "eval": dict}
"""What the configuration of a run has, and that of no other folder, with its types."""

MEASURED = ("metrics.json", "scores/*", "reward_model/README.md")
"""Files with a checksum that can be computed again from the model."""


LogLine: TypeAlias = Mapping[str, float]
"""The figures of a training step."""

NO_FIGURES = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Run:
    """The paths of a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, written before anything else."""
        return self.folder / "config.yaml"

    @property
    def inputs(self) -> Path:
        """Fingerprints of the data and the model that the run began with, and versions."""
        return self.folder / "inputs.json"

    @property
    def reward_model(self) -> Path:
        """The trained model, which plain transformers can load."""
        return self.folder / "reward_model"

    @property
    def dropped(self) -> Path:
        """The records that could not be used, one JSON object each; absent if there are none."""
        return self.folder / "dropped.jsonl"

    @property
    def log(self) -> Path:
        """One JSON object per training step."""
        return self.folder / "log.jsonl"

    @property
    def trackers(self) -> Path:
        """The ids of the run in experiment trackers; absent without `report_to`."""
        return self.folder / "trackers.json"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, from which an interrupted run continues."""
        return self.folder / "checkpoints"

    @property
    def steps_saved(self) -> int:
        """The number of steps after which the run would go on; 0 without a checkpoint."""
        return max([0, *map(step_of, self.checkpoints.glob("*"))])

    @property
    def metrics(self) -> Path:
        """Accuracy and margin on every evaluation set, written last."""
        return self.folder / "metrics.json"

    def scores(self, name: str) -> Path:
        """Return the path of the score file of an evaluation set."""
        return self.folder / "scores" / f"{name}.jsonl"

    @property
    def card(self) -> Path:
        """The model card, which shows the metrics."""
        return self.reward_model / "README.md"

    @property
    def has_results(self) -> bool:
        """Whether there is anything that a resumed run would go on from."""
        return any(
            path.exists() for path in (self.log, self.checkpoints, self.reward_model, self.metrics)
        )

    def is_finished(self, sets: Iterable[str]) -> bool:
        """Return whether these evaluation sets are scored and measured.

        Metrics, score files and cards that are damaged or gone do not count.
        """
        if not self.metrics.exists():
            return False
        try:
            values = read_json(self.metrics)
        except UserError:
            values = None
        names = set(sets)
        whole = isinstance(values, dict) and values.keys() == names
        if whole and all(map(_is_summary, values.values())):
            missing = [path for path in map(self.scores, names) if not path.exists()]
            missing = missing or find_damaged(self.folder, *MEASURED)
        else:
            missing = [self.metrics]
        if missing:
            logger.warning("%s is damaged or gone: the run is measured again", missing[0])
        return not missing

    def write_checksums(self, metrics: Path | None = None) -> None:
        """Write the checksums of the log and, with the metrics as they will be, of all results."""
        results = [self.card, *sorted(self.scores("").parent.glob("*.jsonl"))] if metrics else []
        files = {path: path for path in [self.log, *results] if path.exists()}
        write_checksums(self.folder, files | ({self.metrics: metrics} if metrics else {}))

    def check_trained(self) -> None:
        """Refuse a finished training whose log or model was damaged since.

        Raises:
            UserError: Names the file.
        """
        if self.reward_model.is_dir():
            remedy = f"restore it, or remove {self.reward_model} to train again"
            refuse_damaged(self.folder, self.log.name, remedy=remedy)
            refuse_damaged(self.reward_model, remedy=remedy)

    def check_results(self, *patterns: str) -> None:
        """Refuse results that were damaged since they were written; those that are gone are none.

        Raises:
            UserError: Names the file.
        """
        if self.metrics.exists():  # else they are being written
            remedy = "the command that wrote it makes it again"
            refuse_damaged(self.folder, *patterns, remedy=remedy, gone=False)

    def read_log(self, remedy: str = "") -> list[LogLine]:
        """Read the lines of the log that are written whole; those of a run in progress may not be.

        Raises:
            UserError: The log cannot be read, or a line holds no figures of the step after the
                last; `remedy` is its end.
        """
        with reported((OSError, UnicodeDecodeError), f"cannot read {self.log}: "):
            lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        rows: list[LogLine] = []
        for number, line in enumerate(lines, start=1):
            with reported(
                NO_FIGURES, f"{self.log}, line {number}: not of a training log: ", remedy
            ):
                row = {str(key): read_number(value) for key, value in json.loads(line).items()}
                if rows and row["step"] <= rows[-1]["step"]:
                    raise ValueError("its step is not the next one")
                rows.append(row)
        return rows

    def read_config(self) -> dict[str, Any]:
        """Read the resolved configuration.

        Raises:
            UserError: There is no YAML mapping, or a value of a run's key has another type.
        """
        config = self.read_values()
        for key, types in RUN_KEYS.items():
            value = config.get(key)
            if key in config and not (isinstance(value, types) and _holds_texts(value)):
                raise UserError(f"{self.config} is damaged: {key} is {value!r:.80}")
        return config

    def read_values(self) -> dict[str, Any]:
        """Read a configuration that may be no run's; raise a `UserError` if it is no mapping."""
        values = read_yaml(self.config)
        if not isinstance(values, dict):
            raise UserError(f"{self.config} holds no configuration")
        return values


def checkpoint_name(step: int) -> str:
    """Return the name of the folder of the checkpoint after so many steps."""
    return f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Return the number of steps of a checkpoint's folder, -1 of any other."""
    number = checkpoint.name.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def _is_summary(values: Any) -> bool:
    """Return whether these can be the metrics of an evaluation set."""
    return isinstance(values, dict) and isinstance(values.get("n"), int)


def _holds_texts(value: Any) -> bool:
    """Return whether a list or mapping holds texts alone; of other values, True."""
    values = [*value, *value.values()] if isinstance(value, dict) else value
    return not isinstance(values, list) or all(isinstance(text, str) for text in values)


def open_run(
    folder: str,
    settings: Mapping[str, Any],
    resume: bool,
    cache: str | None = None,
    used: Mapping[str, object] | None = None,
) -> Run:
    """Start a run in a new folder, or continue a run with the same settings.

    A folder without results, because the run failed before its first one, is started again.

    The settings are everything that determines the run; with `resume` a run that has results is
    continued. The cache folder, as configured, may be in `folder` and be filled before the run.
    What settings of no value stand for is `used`: comments in the file, which are not compared.

    Raises:
        UserError: The folder holds another run, this run without `resume`, or files of no run.
    """
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{folder} is a file; choose another out")
    cached = cache_folder(cache).resolve()
    paths = {path for path in run.folder.glob("*") if not path.name.endswith(".unfinished")}
    paths = {path for path in paths if not cached.is_relative_to(path.resolve())}
    paths -= {run.inputs, run.dropped, run.folder / CHECKSUMS, run.folder / LOCK}
    if run.config in paths and len(paths) > 1:
        differing = differing_keys(run.read_config(), settings, {"out"})
        if differing:
            difference = f"holds a run with another {', '.join(differing)}"
            raise UserError(f"{folder} {difference}; choose another out")
        if not resume:
            remedy = "pass --resume to continue it, or choose another out"
            raise UserError(f"{folder} holds this run already; {remedy}")
        return run
    if paths - {run.config}:
        raise UserError(f"{folder} is not an empty folder and holds no run; choose another out")
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    comments = "".join(f"# {name}: {value}\n" for name, value in (used or {}).items())
    write_text(run.config, text + (f"# used:\n{comments}" if comments else ""))
    return run
