"""The file that is planned: keys of one training, or an experiment."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from rewardgap.checks.names import refuse_wrong_names
from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.planning import PlanConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError
from rewardgap.experiments.experiment import Experiment, fill, read_experiment
from rewardgap.io.files import read_yaml

OF_EXPERIMENTS = frozenset({"base", "profiles"}) | {
    key.name for key in fields(Experiment) if key.name not in ("name", "train", "eval")
}
"""Keys of a file that an experiment has and a training has not."""
REFUSED = ("profile", "data_dir", "train_rows", "eval_rows")
"""Keys of the command that only an experiment takes."""
OUT = "runs"
"""Where runs would be; nothing is written there."""


def check_plan(config: PlanConfig) -> None:
    """Refuse a file that cannot be planned, as far as that is known without its data.

    Raises:
        UserError: Names the file and the key.
    """
    if is_experiment(config):
        refuse_wrong_names(config)
        read_experiment(grid_config(config))
        return
    for training in read_trainings(config):
        refuse_wrong_names(training)


def is_experiment(config: PlanConfig) -> bool:
    """Return whether the file is an experiment, by its keys.

    Raises:
        UserError: It holds no keys.
    """
    return bool(OF_EXPERIMENTS & _read(config.file).keys())


def grid_config(config: PlanConfig) -> RunConfig:
    """Return the configuration with which `rewardgap run` would be called, without writing."""
    shared = {key.name for key in fields(PlanConfig)} & {key.name for key in fields(RunConfig)}
    values = {key: getattr(config, key) for key in shared}
    return RunConfig(experiment=config.file, out=OUT, dry_run=True, **values)


def read_trainings(config: PlanConfig) -> list[TrainConfig]:
    """Return the trainings of a file of one: of each model, kind and seed that is named instead.

    Raises:
        UserError: A key is missing, unknown or has a wrong value.
    """
    where = config.file
    if given := [key for key in REFUSED if getattr(config, key) is not None]:
        raise UserError(
            f"{where}: holds keys of a training; `{given[0]}` is for experiments: leave it out"
        )
    values = {"out": OUT, **_read(where), **config.settings}
    if config.train is not None:
        values["train"] = config.train
    if config.eval:
        earlier = values.get("eval")
        values["eval"] = {**(earlier if isinstance(earlier, dict) else {}), **config.eval}
    lists = {"model": config.models, "kind": config.kinds, "seed": config.seeds}
    choices: list[dict[str, Any]] = [{}]
    for key, listed in lists.items():
        if listed is not None:
            choices = [{**choice, key: value} for choice in choices for value in listed]
    trainings = []
    for choice in choices:
        merged = {**values, **choice}
        missing = [key for key in ("model", "kind", "train") if merged.get(key) is None]
        if missing:
            raise UserError(f"{where}: gives no {missing[0]}, which a training needs")
        trainings.append(TrainConfig(**fill(TrainConfig, merged, where)))
    return trainings


def _read(name: str) -> dict[str, Any]:
    values = read_yaml(Path(name))
    if not isinstance(values, dict):
        raise UserError(f"{name}: holds no keys and values: name a training or an experiment")
    return values
