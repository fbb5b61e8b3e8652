"""Run folders: the paths in them, and how a run is started or resumed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import write_text


@dataclass(frozen=True)
class Run:
    """The paths of a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, written before anything else."""
        return self.folder / "config.yaml"

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
    def checkpoints(self) -> Path:
        """Checkpoints, from which an interrupted run continues."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Accuracy and margin on every evaluation set, written last."""
        return self.folder / "metrics.json"

    def scores(self, name: str) -> Path:
        """Return the path of the score file of an evaluation set."""
        return self.folder / "scores" / f"{name}.jsonl"

    def read_config(self) -> dict[str, Any]:
        """Read the resolved configuration; raise a `UserError` if there is no YAML mapping."""
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"cannot read {self.config}: it is no run's configuration") from error
        if not isinstance(config, dict):
            raise UserError(f"{self.config} holds no configuration")
        return config


def open_run(
    folder: str, settings: Mapping[str, Any], resume: bool, cache: str | None = None
) -> Run:
    """Start a run in a new folder, or continue a run with the same settings.

    A folder that contains only a configuration, because the run failed before its first result, is
    started again.

    The settings are everything that determines the run; with `resume` a run that has results is
    continued. The cache folder, as configured, may be in `folder` and be filled before the run.

    Raises:
        UserError: The folder holds another run, this run without `resume`, or files of no run.
    """
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{folder} is a file; choose another out")
    cached = cache_folder(cache).resolve()
    paths = {path for path in run.folder.glob("*") if not path.name.endswith(".unfinished")}
    paths = {path for path in paths if not cached.is_relative_to(path.resolve())}
    if run.config in paths and len(paths) > 1:
        old = run.read_config()
        new = json.loads(json.dumps(settings))
        differing = [key for key in {**old, **new} if old.get(key) != new.get(key) and key != "out"]
        if differing:
            difference = f"holds a run with another {', '.join(sorted(differing))}"
            raise UserError(f"{folder} {difference}; choose another out")
        if not resume:
            remedy = "pass --resume to continue it, or choose another out"
            raise UserError(f"{folder} holds this run already; {remedy}")
        return run
    if paths - {run.config}:
        raise UserError(f"{folder} is not an empty folder and holds no run; choose another out")
    write_text(run.config, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
    return run
