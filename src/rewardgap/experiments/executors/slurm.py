"""The tasks of an experiment as an array of Slurm jobs, for which this writes the script."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from os import getcwd
from pathlib import Path
from typing import Any

import yaml

from rewardgap.configs.experiments import RunConfig
from rewardgap.errors import UserError
from rewardgap.experiments.executors.executor import Executor, Outcomes
from rewardgap.experiments.runner import Runner
from rewardgap.io.files import write_text

SCRIPT = """\
#!/bin/bash
# Flags of sbatch win over these: sbatch --partition NAME --time 4:00:00 array.sh
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task={cpus}
{gpus}#SBATCH --output={logs}
#SBATCH --open-mode=append
#SBATCH --requeue
set -eu
cells=(
{cells}
)
cd {directory}
export OMP_NUM_THREADS={cpus}
exec {python} -m rewardgap.cli run --config {config} --cells "${{cells[$SLURM_ARRAY_TASK_ID]}}"
"""


class SlurmExecutor(Executor):
    """Writes a script of which every job does one task, and the configuration that they read.

    A job that was pre-empted is queued again and, as a run that is resumed, goes on from its last
    checkpoint.
    """

    keys = frozenset({"cpus_per_cell", "gpus_per_cell"})

    def __init__(self, config: RunConfig):
        """Refuse a fraction of a GPU, which Slurm does not give.

        Raises:
            UserError: It is one.
        """
        super().__init__(config)
        if (config.gpus_per_cell or 0) % 1:
            raise UserError(f"gpus_per_cell: Slurm gives whole GPUs, not {config.gpus_per_cell}")

    def run(self, runner: Runner, places: Sequence[str], begin: Callable[[str], None]) -> Outcomes:
        """Write the script of the tasks of these places, of which none has ended then."""
        script = script_path(self.config)
        script.unlink(missing_ok=True)
        if not places:
            return
        config = script.with_name("run.yaml")
        write_text(config, yaml.safe_dump(_settings(self.config), allow_unicode=True))
        gpus = int(self.config.gpus_per_cell or 0)
        text = SCRIPT.format(
            name=shlex.quote(f"rewardgap-{runner.grid.experiment.name}"),
            last=len(places) - 1,
            cpus=self.config.cpus_per_cell or 1,
            gpus=f"#SBATCH --gres=gpu:{gpus}\n" if gpus else "",
            logs=shlex.quote(f"{script.parent.absolute()}/%A_%a.log"),
            cells="\n".join(f"  {shlex.quote(place)}" for place in places),
            directory=shlex.quote(getcwd()),
            python=shlex.quote(sys.executable),
            config=shlex.quote(str(config)),
        )
        write_text(script, text)
        yield from ()

    @classmethod
    def next_command(cls, config: RunConfig) -> str | None:
        """Return the command that submits the jobs."""
        script = script_path(config)
        return f"sbatch {shlex.quote(str(script))}" if script.exists() else None


def script_path(config: RunConfig) -> Path:
    """Return the path of the script, in a folder of the grid's."""
    return Path(config.out) / "slurm" / "array.sh"


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return the keys that say what is run, as far as they are set; each job adds its cell."""
    where = SlurmExecutor.keys | {"executor", "cells", "json"}
    return {
        key.name: value
        for key in fields(config)
        for value in [getattr(config, key.name)]
        if key.name not in where and value not in (None, key.default, {})
    }
