"""The registry of executors: where the tasks of an experiment are done."""

from rewardgap.configs.experiments import RunConfig
from rewardgap.errors import UserError
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
    chosen = EXECUTORS[config.executor]
    for key in sorted({key for executor in EXECUTORS.values() for key in executor.keys}):
        if key not in chosen.keys and getattr(config, key) is not None:
            takers = [name for name, executor in EXECUTORS.items() if key in executor.keys]
            remedy = f"leave it out, or choose the executor {' or '.join(takers)}"
            raise UserError(f"{key}: the executor {config.executor} takes no such key; {remedy}")
    return chosen(config)
