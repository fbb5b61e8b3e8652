"""Run an experiment: train every kind on every model with every seed, whatever is not done yet.

experiment   the YAML file, with a profile and flags merged in, read and checked
data         where its data are: prepared local files, or named sources
grid         one cell for each model, kind, variation and seed
estimates    the tokens and memory that a run takes
run          the cells, one after another; one that fails stops no other
"""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path

import torch

from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import added_tokens
from rewardgap.data.prepared import PreparedData
from rewardgap.errors import UserError, first_line, reported
from rewardgap.experiments.data import (
    check_shifts,
    find_check,
    find_evaluation_data,
    find_training_data,
)
from rewardgap.experiments.estimates import DONE, Estimate, estimate, format_estimates
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import Grid, plan
from rewardgap.experiments.outcomes import (
    Accuracies,
    format_accuracies,
    read_accuracies,
    read_speeds,
)
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.files import read_json
from rewardgap.io.generations import CorrectShare, write_shares
from rewardgap.io.grid_folder import Cell, GridFolder, write_experiment
from rewardgap.io.progress import WorkProgress
from rewardgap.io.run_folder import open_run
from rewardgap.models.devices import choose_device
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.language_model import extend_model, open_template
from rewardgap.scoring.generation import Sampling, answer
from rewardgap.training.inputs import check_inputs
from rewardgap.training.train import train

logger = logging.getLogger(__name__)

Estimates = Mapping[Cell, Estimate]

OF_A_FORECAST = frozenset({"model", "out", "kinds", "seed"})
"""Keys of a forecast's configuration that are not those of the cells' runs."""


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
    experiment = read_experiment(config)
    held_out = find_evaluation_data(experiment, config.data_dir)
    training = find_training_data(experiment, config.data_dir)
    grid = plan(experiment, config.out, training, held_out)
    for name in experiment.generate:
        find_check(held_out[name])
    specs = [training] if isinstance(training, str) else training
    folders = {name: locate_model(model, not config.dry_run) for name, model in grid.models.items()}
    runner = Runner(grid, folders, added_tokens([*specs, *held_out.values()]))
    configs = [runner.config(cell) for cell in grid.cells]
    for config_of_run in configs:
        find_kind(config_of_run.kind).refuse_options(KindConfig.of(config_of_run))
    drops = "drop" in (configs[0].bad_records, configs[0].identical_pairs)
    check_shifts(experiment, held_out, lambda spec: runner.data.records(spec, configs[0]), drops)
    if experiment.generate and len({config.template for config in configs}) > 1:
        raise UserError("generate: name one template for all runs, which share initial answers")
    estimates = runner.estimate()
    lines = [(grid.folder.place(cell), runner.state(cell), estimates[cell]) for cell in grid.cells]
    if not config.dry_run:
        write_experiment(grid.record())
        for cell in grid.cells:
            if cell.run.config.exists():  # of another run: refused
                settings = runner.config(cell).settings()
                open_run(str(cell.run.folder), settings, resume=True)
                if cell.run.is_finished(runner.config(cell).eval):
                    check_inputs(cell.run, runner.config(cell), runner.data)
                    cell.run.check_results(cell.run.log.name)
        runner.run_all(estimates)
    return Plan(grid.folder.folder, lines, read_accuracies(grid.cells))


@dataclass(frozen=True)
class Runner:
    """Runs the cells of a grid.

    Attributes:
        grid: The cells.
        folders: Initial language models by name.
        tokens: Tokens of the data that are added to the tokenizers.
        data: Records and token trees that all cells use.
    """

    grid: Grid
    folders: Mapping[str, Path]
    tokens: tuple[str, ...]
    data: PreparedData = field(default_factory=PreparedData)

    def config(self, cell: Cell) -> TrainConfig:
        """Return the configuration of a cell's run."""
        extended = str(self.grid.folder.language_model(cell.model).resolve())
        return self.grid.config(cell, extended if self.tokens else self.grid.models[cell.model])

    def estimate(self) -> dict[Cell, Estimate]:
        """Return the cost of every cell; the reference counts where it is computed first."""
        templates = cache(lambda model, name: open_template(self.folders[model], self.tokens, name))
        counted: set[tuple[str, int | None]] = set()
        estimates, speeds = {}, read_speeds(self.grid.cells)
        for cell in self.grid.cells:
            config = self.config(cell)
            template = templates(cell.model, config.template)
            cost = estimate(config, self.folders[cell.model], template, self.data)
            if (cell.model, config.max_length) in counted:
                cost = replace(cost, reference=0)
            elif cost.reference:
                counted.add((cell.model, config.max_length))
            speed = speeds.get((cell.model, cell.kind))
            seconds = cost.trained / speed if speed else None
            estimates[cell] = replace(cost, seconds=seconds if cost.trained else 0.0)
        return estimates

    def state(self, cell: Cell) -> str:
        """Return whether a cell is done, begun or new."""
        begun = "begun" if cell.run.config.exists() else "new"
        return DONE if self.is_done(cell) else begun

    def is_done(self, cell: Cell) -> bool:
        """Return whether nothing of a cell is left to do."""
        measured = cell.run.is_finished(self.grid.experiment.eval)
        return measured and (cell.shares.exists() or not self._generates(cell))

    def run_all(self, estimates: Estimates) -> None:
        """Run every cell that is not done, after the forecast from its initial model.

        Raises:
            UserError: Some cells failed; the rest is done.
        """
        failures: dict[str, str] = {}
        left = [cell for cell in self.grid.cells if not self.is_done(cell)]
        total = sum(cost.cost for cost in estimates.values())
        done = total - sum(estimates[cell].cost for cell in left)
        with closing(WorkProgress(total, done)) as work:
            for model in self.grid.models:
                if self.grid.experiment.forecast:
                    place = f"forecasts/{model}"
                    _attempt(place, partial(self.forecast, model), failures)
                for cell in (cell for cell in left if cell.model == model):
                    place = self.grid.folder.place(cell)
                    work.begin(place)
                    _attempt(place, partial(self.run_cell, cell), failures)
                    work.finish(place, estimates[cell].cost)
        for place, message in failures.items():
            logger.error("failed: %s: %s", place, message)
        if failures:
            raise UserError(
                f"failed: {', '.join(failures)}; all else of the {len(estimates)} cells is done, "
                "and the same command tries again what failed"
            )

    def run_cell(self, cell: Cell) -> None:
        """Train, score and measure a cell, and have its model respond to prompts."""
        self._initial_model(cell.model)
        config = self.config(cell)
        train(config, self.data)
        if self._generates(cell):
            self._generate(cell, config)

    def forecast(self, model: str) -> None:
        """Forecast the accuracies of a model's kinds, unless that was done before."""
        cells = [cell for cell in self.grid.cells if cell.model == model and not cell.variation]
        kinds = list(dict.fromkeys(cell.kind for cell in cells if find_kind(cell.kind).equation))
        folder = GridFolder(self.grid.folder.forecast(model))
        if not kinds:
            return
        if self.config(cells[0]).margin_column or self.config(cells[0]).label_smoothing:
            logger.warning("no forecast: theory knows no margins and no smoothed labels")
            return
        with folder.lock():
            path = folder.folder / "forecast.json"
            sets = read_json(path) if path.exists() else {}
            with reported((AttributeError, TypeError), f"{path} is no forecast: ", "; remove it"):
                known = list(dict.fromkeys(kind for kinds in sets.values() for kind in kinds))
            if set(kinds) <= set(known):
                return
            forecast(self.forecast_config(model, list(dict.fromkeys([*known, *kinds]))), self.data)

    def forecast_config(self, model: str, kinds: list[str]) -> ForecastConfig:
        """Return the configuration of the forecast of kinds from an initial model."""
        cells = (c for c in self.grid.cells if c.model == model and not c.variation)
        config = self.config(next(cells))
        keys = {key.name for key in fields(ForecastConfig)} - OF_A_FORECAST
        shared = keys & {key.name for key in fields(config)}
        return ForecastConfig(
            model=str(self._initial_model(model)),
            out=str(self.grid.folder.forecast(model)),
            kinds=kinds,
            **{key: getattr(config, key) for key in shared},
        )

    def _initial_model(self, model: str) -> Path:
        """Return the folder of an initial language model that knows the tokens of the data."""
        if not self.tokens:
            return self.folders[model]
        extended = self.grid.folder.language_model(model)
        extend_model(self.folders[model], self.tokens, extended)
        return extended

    def _generates(self, cell: Cell) -> bool:
        return bool(self.grid.experiment.generate) and find_kind(cell.kind).generates

    def _generate(self, cell: Cell, config: TrainConfig) -> None:
        """Have the trained and the initial model respond, and write the shares that are correct."""
        device = choose_device(config.device)
        initial_model = self._initial_model(cell.model)
        template = ChatTemplate.load(initial_model, config.template)
        encoder = find_kind(cell.kind).encoding(template, KindConfig.of(config))
        shares = {}
        for name, spec in ((name, config.eval[name]) for name in self.grid.experiment.generate):
            records, _ = self.data.evaluation_set(encoder, spec, config, config.max_length)
            check = find_check(spec)
            sampling = Sampling(cell.seed, device, config.token_budget)
            trained = answer(cell.run.reward_model, records, check, sampling, cell.answers(name))
            path = self.grid.folder.initial_answers(cell.model, name)
            sampling = replace(sampling, seed=0, template=config.template)
            initial = answer(initial_model, records, check, sampling, path)
            correct, before = (
                sum(response.correct for response in answers) / len(answers)
                for answers in (trained, initial)
            )
            shares[name] = CorrectShare(correct, before, len(records))
        write_shares(cell.shares, shares)


def _attempt(place: str, act: Callable[[], None], failures: dict[str, str]) -> None:
    """Act; note the message of an error under a name, and free the memory."""
    try:
        act()
    except Exception as error:  # of any kind, as the remaining cells are to be run all the same
        failures[place] = first_line(error)
        expected = isinstance(error, UserError | OSError | torch.OutOfMemoryError)
        logger.warning("%s failed: %s", place, first_line(error), exc_info=not expected)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
