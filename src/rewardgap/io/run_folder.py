"""Run folders: what lies where in them, and how a run is begun, resumed or refused."""

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
        """The resolved configuration, written before any work."""
        return self.folder / "config.yaml"

    @property
    def reward_model(self) -> Path:
        """The trained model, loadable by plain transformers."""
        return self.folder / "reward_model"

    @property
    def log(self) -> Path:
        """One JSON object a training step."""
        return self.folder / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """What an interrupted run continues from."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Accuracy and margin on every evaluation set; the last file to be written."""
        return self.folder / "metrics.json"

    def scores(self, name: str) -> Path:
        """The score file of an evaluation set."""
        return self.folder / "scores" / f"{name}.jsonl"

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            UserError: it is missing or no YAML mapping.
        """
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
    """Begin a run in a new folder, or continue one of the same settings.

    A folder that holds a configuration alone, because the run was refused before its first result,
    is begun anew.

    Args:
        folder: where the run is, or will be.
        settings: all that determines it.
        resume: continue a run that has results.
        cache: the chosen folder of reusable results, which may lie in `folder` and be filled first.

    Raises:
        UserError: the folder holds another run, or this run and `resume` is false, or files that
            are no run.
    """
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{folder} is a file; choose another out")
    reusable = cache_folder(cache).resolve()
    found = {
        path
        for path in run.folder.glob("*")
        if not (path.name.endswith(".unfinished") or reusable.is_relative_to(path.resolve()))
    }
    if run.config in found and len(found) > 1:
        known = run.read_config()
        wanted = json.loads(json.dumps(settings))
        differing = [
            key for key in {**known, **wanted} if known.get(key) != wanted.get(key) and key != "out"
        ]
        if differing:
            raise UserError(
                f"{folder} holds a run with another {', '.join(sorted(differing))}; "
                "choose another out"
            )
        if not resume:
            raise UserError(
                f"{folder} holds this run already; pass --resume to continue it, "
                "or choose another out"
            )
        return run
    if found - {run.config}:
        raise UserError(f"{folder} is not an empty folder and holds no run; choose another out")
    write_text(run.config, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
    return run
