"""What the runs of an experiment measured: score files, aligned, and one tidy frame of numbers."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import baseline_rewards, record_accuracies
from rewardgap.evaluation.bootstrap import TAIL, Interval
from rewardgap.evaluation.comparisons import count_unshared
from rewardgap.evaluation.measures import margin_and_gradient, margin_moments
from rewardgap.evaluation.scores import ScoreRow, read_scores
from rewardgap.evaluation.win_rates import WinRates, win_rates
from rewardgap.io.grid_folder import Cell, ExperimentRecord
from rewardgap.reporting.artifacts import (
    Curve,
    ForecastAccuracy,
    Generated,
    read_curves,
    read_forecasts,
    read_generations,
)
from rewardgap.reporting.paper.printed import printed
from rewardgap.reporting.runs import read_grids

Rows = Sequence[ScoreRow]

INITIAL = "initial model"
"""Stands for a kind where a language model before training is measured."""
METRICS = ("accuracy", "margin")
BASELINE = "baseline "
"""What the metric of a content-blind baseline's accuracy begins with."""
COLUMNS = (
    *("experiment", "model", "kind", "seed", "variation", "set", "metric"),
    *("value", "low", "high", "paper"),
)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds of means over models (and evaluation sets).

    Attributes:
        mean: The mean over seeds.
        deviation: Standard deviation of the seeds' means: that of the seeds themselves (divided by
            their number, NumPy's default; the paper does not say which). None for a single seed.
        files: Number of score files in it.
        planned: Number of score files that the experiment plans; more than `files` in an
            unfinished grid.
    """

    mean: float
    deviation: float | None
    files: int
    planned: int


@dataclass(frozen=True)
class Results:
    """An experiment with the score files that there are.

    Attributes:
        experiment: The experiment.
        rows: By evaluation set and cell the score rows; all cells of a set in the same order.
        curves: Training curves of the runs that have begun.
        generations: By run and set the shares of correct generations, where a run generated.
        forecasts: Forecast accuracies.
        measures: What topics computed from these, see `topic.once`.
    """

    experiment: ExperimentRecord
    rows: Mapping[str, Mapping[Cell, Rows]]
    curves: Mapping[Cell, Curve] = field(default_factory=dict)
    generations: Mapping[Cell, Mapping[str, Generated]] = field(default_factory=dict)
    forecasts: Sequence[ForecastAccuracy] = ()
    measures: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every number of every run, a row each, with the COLUMNS.

        The metric is "accuracy", "margin", "baseline NAME" (accuracy of a content-blind baseline),
        "correct" (share of correct generations; of the model before training as kind INITIAL), or
        "forecast" (accuracy forecast from the initial model, without a seed). `low` and `high` are
        the ends of a 95 % interval where one is known, `paper` is what the paper prints.
        """
        numbers = (*self._scored(), *self._generated(), *self._forecast())
        frame = pd.DataFrame(numbers, columns=list(COLUMNS[1:]))
        frame.insert(0, "experiment", self.experiment.name)
        return frame.astype({"seed": "Int64", "value": float, "low": float, "high": float})

    def _scored(self) -> Iterator[tuple[Any, ...]]:
        for name, cells in self.rows.items():
            for cell, rows in cells.items():
                for metric, value in _numbers(rows).items():
                    paper = self.paper(name, metric, cell.kind)
                    yield (*cell.key, name, metric, value, None, None, paper)

    def _generated(self) -> Iterator[tuple[Any, ...]]:
        for cell, shares in self.generations.items():
            for name, generated in shares.items():
                for kind, share in ((cell.kind, generated.correct), (INITIAL, generated.initial)):
                    if share is not None:
                        ends = share_interval(share, generated.n)
                        paper = self.paper(name, "correct", kind)
                        key = (cell.model, kind, cell.seed, cell.variation, name, "correct")
                        yield (*key, share, ends.low, ends.high, paper)

    def _forecast(self) -> Iterator[tuple[Any, ...]]:
        for forecast in self.forecasts:
            ends = forecast.accuracy
            key = (forecast.model, forecast.kind, None, "", forecast.name, "forecast")
            yield (*key, ends.value, ends.low, ends.high, None)

    def paper(self, name: str, metric: str, kind: str) -> float | None:
        """Return what the paper prints for a kind on an evaluation set."""
        value = printed(self.experiment.name, "by_set", name, metric, kind)
        return value.mean if value else None

    @cached_property
    def measured(self) -> tuple[Cell, ...]:
        """The cells with at least one score file, in the order of the experiment."""
        cells = {cell for cells in self.rows.values() for cell in cells}
        return tuple(cell for cell in self.experiment.cells if cell in cells)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds with at least one score file, in the order of the experiment."""
        return tuple(dict.fromkeys(cell.kind for cell in self.measured))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Initial models (with their variation) with at least one score file."""
        return tuple(dict.fromkeys(cell.subject for cell in self.measured))

    @cached_property
    def variations(self) -> tuple[str, ...]:
        """The planned variations; "" for the experiment's own settings."""
        return tuple(dict.fromkeys(cell.variation for cell in self.experiment.cells))

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """The sets with at least one score file, in the order of the experiment."""
        return tuple(entry.name for entry in self.experiment.sets if self.rows.get(entry.name))

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """The measured sets of every category, both in the order of the experiment."""
        by_category: dict[str, tuple[str, ...]] = {}
        for entry in self.experiment.sets:
            if entry.category and entry.name in self.sets:
                known = by_category.get(entry.category, ())
                by_category[entry.category] = (*known, entry.name)
        return by_category

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """The content-blind baselines of any score file."""
        metrics = dict.fromkeys(self.frame["metric"])
        return tuple(m.removeprefix(BASELINE) for m in metrics if m.startswith(BASELINE))

    def sorted_rows(self, name: str, cell: Cell) -> Rows:
        """Return a score file's rows by id: the same resamples as where files are compared."""
        return sorted(self.rows[name][cell], key=lambda row: row.id)

    def main_cells(self, name: str) -> list[Cell]:
        """Return the measured cells of a set with the experiment's own settings; else all."""
        cells = list(self.rows[name])
        return [cell for cell in cells if not cell.variation] or cells

    def cells(self, kind: str, variation: str = "", model: str | None = None) -> list[Cell]:
        """Return the planned cells of a kind and a variation, of one initial model or of all.

        Those of the kind INITIAL are the cells of all kinds that generate.
        """
        kinds = {cell.kind for cell in self.generations} if kind in (INITIAL,) else {kind}
        return [
            cell
            for cell in self.experiment.cells
            if cell.kind in kinds and cell.variation == variation and model in (None, cell.model)
        ]

    @cached_property
    def _values(self) -> Mapping[Any, pd.DataFrame]:
        return dict(iter(self.frame.groupby(["metric", "set", "kind", "variation"], sort=False)))

    def spread(
        self,
        metric: str,
        names: Collection[str],
        kind: str,
        variation: str = "",
        model: str | None = None,
    ) -> Spread | None:
        """Return the mean over models and sets, and its deviation over seeds; None without any.

        Args:
            metric: One of the frame's.
            names: The evaluation sets.
            kind: Kind of reward model.
            variation: What differs from the experiment's settings.
            model: The only initial model that counts; None for all.
        """
        keys = [(metric, name, kind, variation) for name in names]
        parts = [self._values[key] for key in keys if key in self._values]
        values = pd.concat(parts) if parts else self.frame.iloc[:0]
        if model is not None:
            values = values[values["model"] == model]
        if not len(values):
            return None
        means = [float(np.mean(group)) for _, group in values.groupby("seed")["value"]]
        deviation = float(np.std(means)) if len(means) > 1 else None
        planned = len(names) * len(self.cells(kind, variation, model))
        return Spread(float(np.mean(means)), deviation, len(values), planned)

    def win_rates(self, names: Collection[str], pair: tuple[str, str]) -> WinRates | None:
        """Return the paper's win rates over (model, seed, set) of both kinds; None without any."""
        first, second = (
            {
                (f"{row.model} {name}", int(row.seed)): float(row.value)
                for name in names
                if (key := ("accuracy", name, kind, "")) in self._values
                for row in self._values[key].itertuples()
            }
            for kind in pair
        )
        shared = first.keys() & second.keys()
        if not shared:
            return None
        return win_rates({key: first[key] for key in shared}, {key: second[key] for key in shared})

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """A line for everything planned that is not there: runs, scores, generations, forecasts."""
        return (*self._missing_scores(), *self._missing_generations(), *self._missing_forecasts())

    def _missing_scores(self) -> Iterator[str]:
        names = [entry.name for entry in self.experiment.sets]
        for cell in self.experiment.cells:
            lacking = [name for name in names if cell not in self.rows[name]]
            if lacking and lacking == names:
                state = "has no scores yet" if cell.run.config.exists() else "has not begun"
                yield f"{cell} {state}"
            elif lacking:
                yield f"{cell} lacks scores for {', '.join(lacking)}"

    def _missing_generations(self) -> Iterator[str]:
        """Not every kind can generate: those do of which some run has."""
        planned = self.experiment.generate
        if planned and not self.generations:
            yield f"no run has generated responses for {', '.join(planned)} yet"
        kinds = {cell.kind for cell in self.generations}
        for cell in self.experiment.cells:
            lacking = [name for name in planned if name not in self.generations.get(cell, {})]
            if lacking and cell.kind in kinds:
                yield f"{cell} has not generated responses for {', '.join(lacking)}"

    def _missing_forecasts(self) -> Iterator[str]:
        if self.experiment.forecast:
            known = {forecast.model for forecast in self.forecasts}
            for model in dict.fromkeys(cell.model for cell in self.experiment.cells):
                if model not in known:
                    yield f"there is no forecast from {model} yet"


def by_kind(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return cells by their kind, in their order."""
    kinds: dict[str, list[Cell]] = {}
    for cell in cells:
        kinds.setdefault(cell.kind, []).append(cell)
    return kinds


def read_results(folders: Sequence[str]) -> list[Results]:
    """Read the experiments of grids and run folders, with the scores that there are.

    Raises:
        UserError: A folder holds no run, two runs have one name, a file is damaged, or score files
            of one set rate different data.
    """
    return [measure(experiment) for experiment in read_grids(folders)]


def measure(experiment: ExperimentRecord) -> Results:
    """Read the score files that an experiment has so far.

    Raises:
        UserError: A score file is damaged, or rates other records than another of the same set.
    """
    rows: dict[str, dict[Cell, Rows]] = {}
    for entry in experiment.sets:
        paths = {cell: cell.run.scores(entry.name) for cell in experiment.cells}
        files = {cell: (path, read_scores(path)) for cell, path in paths.items() if path.exists()}
        rows[entry.name] = _align(entry.name, files)
    return Results(
        experiment,
        rows,
        read_curves(experiment),
        read_generations(experiment),
        read_forecasts(experiment),
    )


def share_interval(share: float, n: int) -> Interval:
    """Return a share of `n` independent responses with its exact interval (Clopper-Pearson)."""
    from scipy.stats import binomtest

    bounds = binomtest(round(share * n), n).proportion_ci(1 - 2 * TAIL, "exact")
    return Interval(share, float(bounds.low), float(bounds.high))


def _align(name: str, files: Mapping[Cell, tuple[Path, Rows]]) -> dict[Cell, Rows]:
    """All cells' rows in the order of the first cell's."""
    aligned: dict[Cell, Rows] = {}
    first, path_of_first = next(((rows, path) for path, rows in files.values()), ([], None))
    order = [row.id for row in first]
    for cell, (path, rows) in files.items():
        if unshared := count_unshared(first, rows):
            raise UserError(
                f"{path_of_first} and {path} are both scores of {name} but rate different data: "
                f"{unshared} records are in only one of them; score all models on the same data"
            )
        by_id = {row.id: row for row in rows}
        aligned[cell] = [by_id[record] for record in order]
    return aligned


def _numbers(rows: Rows) -> dict[str, float]:
    """Accuracy and margin of a score file, and the accuracy of baselines on its records."""
    scores = [row.scores for row in rows]
    return {
        "accuracy": float(record_accuracies(scores).mean()),
        "margin": float(margin_and_gradient(margin_moments(scores).mean(axis=0))[0]),
    } | {
        f"{BASELINE}{baseline}": float(record_accuracies(rewards).mean())
        for baseline, rewards in baseline_rewards(rows).items()
    }
