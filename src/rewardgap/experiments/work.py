"""Doing the cells of a grid: what they share is done once, and one that fails stops no other."""

import gc
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.prepared import PreparedData
from rewardgap.dynamics.readouts import READOUTS
from rewardgap.errors import UserError, first_line
from rewardgap.experiments.estimates import Estimate
from rewardgap.experiments.grid import Grid
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.generations import CorrectShare, write_shares
from rewardgap.io.grid_folder import Cell, GridFolder
from rewardgap.io.progress import progress_of_work
from rewardgap.io.run_folder import open_run
from rewardgap.models.added_tokens import extend_model
from rewardgap.models.devices import choose_device
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.implicit import ImplicitWithoutReference
from rewardgap.scoring.generation import Sampling, answer, find_check, share_correct
from rewardgap.training.train import train

logger = logging.getLogger(__name__)

# What a run and a forecast are both told.
COMMON = {field.name for field in fields(ForecastConfig)} - {"model", "out", "kinds", "seed"}


@dataclass(frozen=True)
class Work:
    """A grid to be done.

    Attributes:
        grid: its cells.
        folders: initial language models by name.
        tokens: what the data add to their tokenizers.
        shared: records and tokens that all cells use.
    """

    grid: Grid
    folders: Mapping[str, Path]
    tokens: tuple[str, ...]
    shared: PreparedData

    def config(self, cell: Cell) -> TrainConfig:
        """What a cell's run is told."""
        extended = str(self.grid.folder.language_model(cell.model).resolve())
        return self.grid.config(cell, extended if self.tokens else self.grid.models[cell.model])

    def check_begun(self) -> None:
        """Refuse runs in the grid's folder that are none of this grid.

        Raises:
            UserError: there is one.
        """
        for cell in self.grid.cells:
            if cell.run.config.exists():
                config = self.config(cell)
                open_run(config.out, config.settings(), resume=True)

    def is_done(self, cell: Cell) -> bool:
        """Whether nothing of a cell is left to do."""
        answered = cell.shares.exists() or not self._generates(cell)
        return cell.run.metrics.exists() and answered

    def do(self, cell: Cell) -> None:
        """Train, score and measure a cell, and have its model answer prompts."""
        self._initial(cell.model)
        config = self.config(cell)
        train(config, self.shared)
        if self._generates(cell):
            self._generate(cell, config)

    def forecast(self, model: str) -> None:
        """Forecast those of a language model's kinds that can be, unless it was done before."""
        out = self.grid.folder.forecast(model)
        cells = [cell for cell in self.grid.cells if cell.model == model and not cell.variation]
        kinds = list(dict.fromkeys(cell.kind for cell in cells if cell.kind in READOUTS))
        if kinds:
            with GridFolder(out).lock():
                self._forecast(model, kinds, cells[0])

    def _forecast(self, model: str, kinds: list[str], cell: Cell) -> None:
        """Forecast all kinds together with those known before, if some are new."""
        out = self.grid.folder.forecast(model)
        path = out / "forecast.json"
        sets = json.loads(path.read_text(encoding="utf-8")).values() if path.exists() else ()
        known = list(dict.fromkeys(kind for figures in sets for kind in figures))
        if set(kinds) <= set(known):
            return
        kinds = list(dict.fromkeys([*known, *kinds]))
        config, initial = self.config(cell), str(self._initial(model))
        told = {key: getattr(config, key) for key in COMMON if hasattr(config, key)}
        forecast(ForecastConfig(model=initial, out=str(out), kinds=kinds, **told), self.shared)

    def _initial(self, model: str) -> Path:
        """The folder of an initial language model that knows the data's tokens."""
        if not self.tokens:
            return self.folders[model]
        extend_model(self.folders[model], self.tokens, self.grid.folder.language_model(model))
        return self.grid.folder.language_model(model)

    def _generates(self, cell: Cell) -> bool:
        return bool(self.grid.experiment.generate) and issubclass(
            find_kind(cell.kind), ImplicitWithoutReference
        )

    def _generate(self, cell: Cell, config: TrainConfig) -> None:
        """Compare the trained model's answers with those of the initial one."""
        device = choose_device(config.device)
        shares = {}
        for name in self.grid.experiment.generate:
            records = self.shared.records(config.eval[name], config.identical_pairs)
            check = find_check(config.eval[name])
            trained, initial = (
                answer(folder, records, check, Sampling(seed, device, config.token_budget), answers)
                for folder, seed, answers in (
                    (cell.run.reward_model, cell.seed, cell.answers(name)),
                    (
                        self._initial(cell.model),
                        0,
                        self.grid.folder.initial_answers(cell.model, name),
                    ),
                )
            )
            shares[name] = CorrectShare(
                share_correct(trained), share_correct(initial), len(records)
            )
        write_shares(cell.shares, shares)


def do_all(work: Work, estimates: Mapping[Cell, Estimate]) -> None:
    """Do every cell that is not done.

    Args:
        work: the grid.
        estimates: of all cells, the weights of the progress bar.

    Raises:
        UserError: some failed; all others are done.
    """
    failures: dict[str, str] = {}
    left = [cell for cell in estimates if not work.is_done(cell)]
    total = sum(estimate.cost for estimate in estimates.values())
    done = total - sum(estimates[cell].cost for cell in left)
    with progress_of_work(total, done) as bar:
        for model in work.grid.models:
            if work.grid.experiment.forecast:
                _attempt(f"forecasts/{model}", partial(work.forecast, model), failures)
            for cell in (each for each in left if each.model == model):
                bar.set_description(work.grid.folder.place(cell), refresh=sys.stderr.isatty())
                _attempt(work.grid.folder.place(cell), partial(work.do, cell), failures)
                bar.update(estimates[cell].cost)
    for name, message in failures.items():
        logger.error("failed: %s: %s", name, message)
    if failures:
        raise UserError(
            f"failed: {', '.join(failures)}; all else of the {len(estimates)} cells is done, and "
            "the same command tries again what failed"
        )


def _attempt(name: str, act: Callable[[], None], failures: dict[str, str]) -> None:
    """Do something; an error is noted under its name, and its memory is freed."""
    try:
        act()
    except Exception as error:  # of whatever kind: the other cells are to be done all the same
        failures[name] = first_line(error)
        expected = isinstance(error, UserError | OSError | torch.OutOfMemoryError)
        logger.warning("%s failed: %s", name, first_line(error), exc_info=not expected)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
