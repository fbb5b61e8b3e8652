"""What a run began with: its data, its model and the versions of what computes; it must stay so.

`inputs.json` in the folder of the run holds a hash of every file or source of data, a hash of every
file of the model, and versions.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

from rewardgap.configs.training import TrainConfig
from rewardgap.data.prepared import PreparedData
from rewardgap.data.readers import hash_path
from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import read_json, write_text
from rewardgap.io.run_folder import Run
from rewardgap.models.hub import PATTERNS, locate_model

logger = logging.getLogger(__name__)

Inputs = Mapping[str, Mapping[str, str]]
"""By what they are to the run, the hashes or versions of its inputs by name."""

DATA = ("training data", "evaluation data")
PACKAGES = ("rewardgap", "torch", "transformers", "tokenizers")


def check_inputs(run: Run, config: TrainConfig, shared: PreparedData) -> None:
    """Record what a run begins with or, if it has results, refuse what has changed since.

    Of a finished run only the data are compared: nothing else is used again.

    Raises:
        UserError: The data, the model or a version has changed, or the record is damaged.
    """
    finished = run.is_finished(config.eval)
    if not run.has_results:
        inputs = {**data_inputs(config, shared), **model_inputs(config)}
        write_text(run.inputs, json.dumps(inputs, indent=2, ensure_ascii=False) + "\n")
    elif finished and not run.inputs.exists():
        logger.warning("%s has no inputs.json: its data cannot be compared", run.folder)
    else:
        before = read_inputs(run.inputs, "choose another out to start a new run")
        now = data_inputs(config, shared) | ({} if finished else model_inputs(config))
        changed = list(changes(before, now))
        if changed:
            remedy = "restore what was there, or choose another out to start a new run"
            message = f"changed since the run in {run.folder} began: {', '.join(changed)}; {remedy}"
            raise UserError(message)


def read_inputs(path: Path, remedy: str) -> Inputs:
    """Read an `inputs.json`.

    Raises:
        UserError: It is missing or damaged; the message ends with the remedy.
    """
    inputs = read_json(path)
    if not isinstance(inputs, dict) or not all(isinstance(part, dict) for part in inputs.values()):
        raise UserError(f"{path} is damaged; {remedy}")
    return inputs


def data_inputs(config: TrainConfig, shared: PreparedData) -> dict[str, dict[str, str]]:
    """Return a hash of every specification of data."""
    training = [config.train] if isinstance(config.train, str) else config.train
    specs = dict(zip(DATA, (training, config.eval.values()), strict=True))
    return {
        use: {spec: shared.fingerprint(spec, config) for spec in named}
        for use, named in specs.items()
    }


def model_inputs(config: TrainConfig) -> dict[str, dict[str, str]]:
    """Return a hash of every file of the initial model, and the versions of packages."""
    hashes = cache_folder(config.cache) / "hashes"
    return {
        f"model {config.model}": hash_model(locate_model(config.model), hashes),
        "chat template": hash_template(config.template, hashes),
        "version": {package: version(package).partition("+")[0] for package in PACKAGES},
    }


def hash_model(folder: Path, hashes: Path) -> dict[str, str]:
    """Return a hash of every file of a model by its name; those of unchanged files are cached."""
    return {
        path.name: hash_path(str(path), hashes)
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in PATTERNS)
    }


def hash_template(template: str | None, hashes: Path) -> dict[str, str]:
    """Return the hash of a chat template by its path; nothing unless it is a file."""
    path = Path(template or "").expanduser()
    return {str(path): hash_path(str(path), hashes)} if path.is_file() else {}


def changes(before: Inputs, now: Inputs) -> Iterator[str]:
    """Yield what differs, in words."""
    for use, values in now.items():
        known = before.get(use, {})
        for name in dict.fromkeys([*values, *known]):
            old, new = known.get(name), values.get(name)
            if old != new:
                both = f" (was {old}, is {new})" if use == "version" else ""
                yield f"{use}: {name}{both}"
