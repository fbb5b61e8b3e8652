"""The tasks of an experiment, its cells and forecasts, each of which any process can do."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import added_tokens
from rewardgap.data.prepared import PreparedData
from rewardgap.errors import reported
from rewardgap.experiments.data import find_check
from rewardgap.experiments.estimates import DONE, Estimate, estimate
from rewardgap.experiments.grid import Grid
from rewardgap.experiments.outcomes import read_speeds
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.files import read_json
from rewardgap.io.generations import CorrectShare, write_shares
from rewardgap.io.grid_folder import Cell, GridFolder
from rewardgap.models.devices import choose_device
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.language_model import extend_model, open_template
from rewardgap.scoring.generation import Sampling, answer
from rewardgap.training.train import train

logger = logging.getLogger(__name__)

OF_A_FORECAST = frozenset({"model", "out", "kinds", "seed"})
"""Keys of a forecast's configuration that are not those of the cells' runs."""


@dataclass(frozen=True)
class Runner:
    """Does the tasks of a grid.

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

    @classmethod
    def open(cls, grid: Grid, weights: bool = True) -> "Runner":
        """Return the runner of a grid on this machine, with the weights of its models or without.

        Raises:
            UserError: A model is not here and cannot be had.
        """
        folders = {name: locate_model(model, weights) for name, model in grid.models.items()}
        specs = [grid.train] if isinstance(grid.train, str) else grid.train
        return cls(grid, folders, added_tokens([*specs, *grid.held_out.values()]))

    @property
    def cells(self) -> dict[str, Cell]:
        """The cells by place in the grid's folder."""
        return {self.grid.folder.place(cell): cell for cell in self.grid.cells}

    @property
    def tasks(self) -> dict[str, Callable[[], None]]:
        """What is to be done for every place in the grid's folder, a model's forecast first."""
        tasks: dict[str, Callable[[], None]] = {}
        for model in self.grid.models:
            if self.grid.experiment.forecast:
                tasks[f"forecasts/{model}"] = partial(self.forecast, model)
            of_model = {place: cell for place, cell in self.cells.items() if cell.model == model}
            tasks |= {place: partial(self.run_cell, cell) for place, cell in of_model.items()}
        return tasks

    def config(self, cell: Cell) -> TrainConfig:
        """Return the configuration of a cell's run."""
        extended = str(self.grid.folder.language_model(cell.model).resolve())
        return self.grid.config(cell, extended if self.tokens else self.grid.models[cell.model])

    def estimate(self, cells: Iterable[Cell]) -> dict[Cell, Estimate]:
        """Return the cost of cells; the reference counts where it is computed first."""
        templates = cache(lambda model, name: open_template(self.folders[model], self.tokens, name))
        counted: set[tuple[str, int | None]] = set()
        estimates, speeds = {}, read_speeds(self.grid.cells)
        for cell in cells:
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

    def run_cell(self, cell: Cell) -> None:
        """Train, score and measure a cell, and have its model respond to prompts.

        What was done before is not done again.
        """
        if self.is_done(cell):
            return
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
            model = locate_model(str(cell.run.folder))  # with an adapter, merged
            trained = answer(model, records, check, sampling, cell.answers(name))
            path = self.grid.folder.initial_answers(cell.model, name)
            sampling = replace(sampling, seed=0, template=config.template)
            initial = answer(initial_model, records, check, sampling, path)
            correct, before = (
                sum(response.correct for response in answers) / len(answers)
                for answers in (trained, initial)
            )
            shares[name] = CorrectShare(correct, before, len(records))
        write_shares(cell.shares, shares)
