"""Run an experiment: train every kind on every model with every seed, whatever is not done yet.

experiment   the YAML file, with a profile and flags merged in, read and checked
data         where its data are: prepared local files, or named sources
grid         one cell for each model, kind, variation and seed
estimates    the tokens and memory that a run takes
runner       the tasks: cells and forecasts
executors    where they are done: here one after another, on Ray, or by Slurm
run          all of these; a task that fails stops no other
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.flags import similar
from rewardgap.configs.kind import KindConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError, first_line
from rewardgap.experiments.data import (
    check_shifts,
    find_check,
    find_evaluation_data,
    find_training_data,
)
from rewardgap.experiments.estimates import Estimate, format_estimates
from rewardgap.experiments.executors import Executor, open_executor
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import plan
from rewardgap.experiments.outcomes import Accuracies, format_accuracies, read_accuracies
from rewardgap.experiments.runner import Runner
from rewardgap.io.grid_folder import Cell, write_experiment
from rewardgap.io.progress import WorkProgress
from rewardgap.io.run_folder import open_run
from rewardgap.models.kinds import find_kind
from rewardgap.training.inputs import check_inputs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What `run` has done or, in a dry run, would do.

    Attributes:
        folder: The folder of the experiment's runs.
        lines: For each cell its folder, its state before the call, its tokens and memory.
        accuracies: What the runs that are measured came to.
    """

    folder: Path
    lines: Sequence[tuple[str, str, Estimate]]
    accuracies: Accuracies

    @property
    def table(self) -> str:
        """A line for each cell."""
        return format_estimates(self.lines)

    def __str__(self) -> str:
        return format_accuracies(self.accuracies)


@by_keywords(RunConfig)
def run(config: RunConfig) -> Plan:
    """Run every cell of an experiment that is not done yet.

    `out` receives `experiment.yaml`, a run folder for each cell, and what the cells share, see
    `io.grid_folder`.

    Raises:
        UserError: The experiment, the data or a model does not allow it, and then nothing is
            done; or some cells failed, and the rest is done.
    """
    executor = open_executor(config)
    runner = open_grid(config)
    grid = runner.grid
    places = _choose(config.cells, runner.tasks)
    cells = {place: cell for place, cell in runner.cells.items() if place in places}
    estimates = runner.estimate(cells.values())
    lines = [(place, runner.state(cell), estimates[cell]) for place, cell in cells.items()]
    if not config.dry_run:
        write_experiment(grid.record())
        for cell in cells.values():
            _refuse_other_run(runner, cell)
        left = [p for p in places if p not in cells or not runner.is_done(cells[p])]
        costs = {place: estimates[cell].cost for place, cell in cells.items()}
        run_tasks(executor, runner, left, costs)
    return Plan(grid.folder.folder, lines, read_accuracies(cells.values()))


def open_grid(config: RunConfig) -> Runner:
    """Read an experiment and find its data and models; a dry run needs no weights.

    Raises:
        UserError: The experiment, the data or a model does not allow a run.
    """
    experiment = read_experiment(config)
    held_out = find_evaluation_data(experiment, config.data_dir)
    training = find_training_data(experiment, config.data_dir)
    grid = plan(experiment, config.out, training, held_out)
    for name in experiment.generate:
        find_check(held_out[name])
    runner = Runner.open(grid, weights=not config.dry_run)
    configs = [runner.config(cell) for cell in grid.cells]
    for config_of_run in configs:
        find_kind(config_of_run.kind).refuse_options(KindConfig.of(config_of_run))
    drops = "drop" in (configs[0].bad_records, configs[0].identical_pairs)
    check_shifts(experiment, held_out, lambda spec: runner.data.records(spec, configs[0]), drops)
    if experiment.generate and len({config.template for config in configs}) > 1:
        raise UserError("generate: name one template for all runs, which share initial answers")
    return runner


def _choose(chosen: Sequence[str] | None, tasks: Mapping[str, Callable[[], None]]) -> list[str]:
    """Return the places of the tasks that are to be done: by default, of all."""
    for place in chosen or ():
        if place not in tasks:
            likely = " or ".join(similar(place, tasks))
            hint = f"did you mean {likely}?" if likely else "--dry-run lists them"
            raise UserError(f"cells: the experiment has no {place!r}; {hint}")
    return [place for place in tasks if chosen is None or place in chosen]


def _refuse_other_run(runner: Runner, cell: Cell) -> None:
    """Refuse a cell whose folder holds a run with other settings or, if done, of other data."""
    config = runner.config(cell)
    if cell.run.config.exists():
        open_run(str(cell.run.folder), config.settings(), resume=True)
        if cell.run.is_finished(config.eval):
            check_inputs(cell.run, config, runner.data)
            cell.run.check_results(cell.run.log.name)


def run_tasks(
    executor: Executor, runner: Runner, places: Sequence[str], costs: Mapping[str, float]
) -> None:
    """Have the tasks of some places done, and say how far they are.

    Args:
        executor: Where they are done.
        runner: What does them.
        places: Their places in the folder of the grid.
        costs: The cost of every cell by place, also of those that are done already.

    Raises:
        UserError: Some failed; the rest is done.
    """
    failures: dict[str, str] = {}
    total = sum(costs.values())
    left = sum(costs.get(place, 0) for place in places)
    with (
        closing(WorkProgress(total, total - left)) as work,
        closing(executor.run(runner, places, work.begin)) as outcomes,
    ):
        for place, error in outcomes:
            if error is not None:
                failures[place] = first_line(error)
                expected = isinstance(error, UserError | OSError | torch.OutOfMemoryError)
                unexpected = None if expected else error
                logger.warning("%s failed: %s", place, failures[place], exc_info=unexpected)
            if place in costs:
                work.finish(place, costs[place])
            del error  # its frames hold what the task had in memory
    for place, message in failures.items():
        logger.error("failed: %s: %s", place, message)
    if failures:
        raise UserError(
            f"failed: {', '.join(failures)}; all else of the {len(costs)} cells is done, "
            "and the same command tries again what failed"
        )
