"""Experiments: a YAML file says which models, kinds and seeds are trained and judged on what.

experiment   the YAML file, with a profile and flags merged in, read and checked
data         where its data are: prepared local files, or named sources
cells        one run for each model, kind, variation and seed
grid         the folder of all runs
initial      the initial language models, with the tokens that the data add
estimates    tokens and memory, before anything is done
generation   what a language model answers, sampled and checked
work         doing the cells
"""

from dataclasses import dataclass, replace
from pathlib import Path

from rewardgap.configs.experiments import RunConfig
from rewardgap.data.load import added_tokens
from rewardgap.data.prepared import PreparedData
from rewardgap.experiments.data import check_shifts, find_evaluation_data, find_training_data
from rewardgap.experiments.estimates import DONE, Estimate, estimate, format_estimates
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import plan
from rewardgap.experiments.work import Work, do_all
from rewardgap.io.grid_folder import Cell, write_experiment
from rewardgap.models.added_tokens import open_template
from rewardgap.models.hub import locate_model
from rewardgap.scoring.generation import find_check


@dataclass(frozen=True)
class Plan:
    """What `run` has done or, in a dry run, would do.

    Attributes:
        folder: of the grid.
        table: a line for each cell: what is done of it, tokens and memory.
    """

    folder: Path
    table: str


def run(config: RunConfig) -> Plan:
    """Do every cell of an experiment that is not done yet.

    `out` receives `experiment.yaml`, a run folder for each cell, and what the cells share.

    Raises:
        UserError: the experiment, the data or a model does not allow it, and then nothing is
            done; or some cells failed, and all others are done.
    """
    experiment = read_experiment(config)
    held_out = find_evaluation_data(experiment, config.data_dir)
    train = find_training_data(experiment, config.data_dir)
    grid = plan(experiment, config.out, train, held_out)
    for name in experiment.generate:
        find_check(held_out[name])
    shared, told = PreparedData(), grid.config(first := next(iter(grid.cells)), first.model)
    check_shifts(experiment, held_out, lambda spec: shared.records(spec, told.identical_pairs))
    weights = not config.dry_run
    work = Work(
        grid=grid,
        folders={name: locate_model(model, weights) for name, model in grid.models.items()},
        tokens=added_tokens([*([train] if isinstance(train, str) else train), *held_out.values()]),
        shared=shared,
    )
    estimates = _estimate_all(work)
    table = format_estimates(
        [(grid.folder.place(c), _state(work, c), e) for c, e in estimates.items()]
    )
    if not config.dry_run:
        write_experiment(grid.record())
        work.check_begun()
        do_all(work, estimates)
    return Plan(grid.folder.folder, table)


def _estimate_all(work: Work) -> dict[Cell, Estimate]:
    """Estimates of all cells; what the initial model computes is counted where it comes first."""
    templates = {name: open_template(folder, work.tokens) for name, folder in work.folders.items()}
    computed: set[tuple[str, int | None]] = set()
    estimates = {}
    for cell in work.grid.cells:
        config = work.config(cell)
        each = estimate(config, work.folders[cell.model], templates[cell.model], work.shared)
        if (cell.model, config.max_length) in computed:
            each = replace(each, reference=0)
        elif each.reference:
            computed.add((cell.model, config.max_length))
        estimates[cell] = each
    return estimates


def _state(work: Work, cell: Cell) -> str:
    if work.is_done(cell):
        return DONE
    return "begun" if cell.run.config.exists() else "new"
