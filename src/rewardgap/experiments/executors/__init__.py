"""The registry of executors: where the tasks of an experiment are done."""

from rewardgap.configs.compute import refuse_keys_of_others
from rewardgap.configs.experiments import RunConfig
from rewardgap.experiments.executors.executor import Executor
from rewardgap.experiments.executors.local import LocalExecutor
from rewardgap.experiments.executors.ray import RayExecutor
from rewardgap.experiments.executors.slurm import SlurmExecutor

EXECUTORS: dict[str, type[Executor]] = {
    "local": LocalExecutor,
    "ray": RayExecutor,
    "slurm": SlurmExecutor,
}


def open_executor(config: RunConfig) -> Executor:
    """Return the executor that a configuration names.

    Raises:
        UserError: It cannot be had, or a key is set that it does not take.
    """
    refuse_keys_of_others(config, {name: executor.keys for name, executor in EXECUTORS.items()})
    return EXECUTORS[config.executor](config)
