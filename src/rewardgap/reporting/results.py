"""What the runs of an experiment measured: score files, aligned, and one tidy frame of numbers."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rewardgap.data.dropped import read_dropped
from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import baseline_rewards, record_accuracies
from rewardgap.evaluation.bootstrap import TAIL, Interval
from rewardgap.evaluation.comparisons import count_unshared
from rewardgap.evaluation.margins import half_margins, separation_and_gradient, separation_moments
from rewardgap.evaluation.scores import ScoreRow, read_scores
from rewardgap.evaluation.win_rates import WinRates, win_rates
from rewardgap.io.files import MAX
from rewardgap.io.generations import CorrectShare, read_shares
from rewardgap.io.grid_folder import Cell, ExperimentRecord
from rewardgap.reporting.paper.printed import printed
from rewardgap.reporting.runs import (
    Curve,
    ForecastAccuracy,
    read_curves,
    read_forecasts,
    read_grids,
)

Rows = Sequence[ScoreRow]
RunKey = tuple[str, int]
"""Initial model (with its variation) and seed of a run."""

INITIAL = "initial model"
"""Stands for a kind where a language model before training is measured."""
METRICS = ("accuracy", "separation")
"""What the paper's tables show."""
BASELINE = "baseline "
"""What the metric of a baseline's accuracy begins with."""
MEASURED = ("model", "kind", "seed", "variation", "set", "metric", "value", "low", "high")
COLUMNS = ("experiment", *MEASURED, "paper")


@dataclass(frozen=True)
class Spread:
    """A mean over seeds of means over models (and evaluation sets).

    Attributes:
        mean: Over seeds.
        deviation: Standard deviation of the seeds' means (divided by their number, NumPy's default;
            the paper does not say which). None for a single seed.
        files: Number of score files in it.
        planned: Number that the experiment plans.
    """

    mean: float
    deviation: float | None
    files: int
    planned: int


@dataclass(frozen=True)
class Results:
    """An experiment with the score files that there are.

    Attributes:
        rows: By evaluation set and cell the score rows; all cells of a set in the same order.
        curves: Those of the runs that have begun.
        generations: By run and set the shares of correct generations, where a run generated.
        left_out: By evaluation set the number of records that some runs have dropped: no run's
            count.
        measures: What topics computed from these, see `topic.once`.
    """

    experiment: ExperimentRecord
    rows: Mapping[str, Mapping[Cell, Rows]]
    curves: Sequence[Curve] = ()
    generations: Mapping[Cell, Mapping[str, CorrectShare]] = field(default_factory=dict)
    forecasts: Sequence[ForecastAccuracy] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    measures: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every number of every run, a row each, with the COLUMNS.

        The metric is "accuracy", "margin", "separation", "baseline NAME" (accuracy of a baseline),
        "correct" (share of correct generations; of the model before training as kind INITIAL), or
        "forecast" (accuracy forecast from the initial model, without a seed). `low` and `high` are
        the ends of a 95 % interval where one is known, `paper` is what the paper prints.
        """
        frame = pd.DataFrame(self._numbers(), columns=list(MEASURED))
        frame.insert(0, "experiment", self.experiment.name)
        places = zip(frame["set"], frame["metric"], frame["kind"], strict=True)
        frame["paper"] = [self.paper(*place) for place in places]
        return frame.astype({"seed": "Int64", "value": float, "low": float, "high": float})

    def _numbers(self) -> Iterator[tuple[Any, ...]]:
        """Yield what is MEASURED."""
        for name, cells in self.rows.items():
            for cell, rows in cells.items():
                for metric, value in _accuracies(rows).items():
                    yield (*cell.key, name, metric, value, None, None)
        for cell, shares in self.generations.items():
            for name, generated in shares.items():
                for kind, share in ((cell.kind, generated.correct), (INITIAL, generated.initial)):
                    if share is not None:
                        key = (cell.model, kind, cell.seed, cell.variation, name, "correct")
                        yield (*key, *vars(share_interval(share, generated.n)).values())
        for forecast in self.forecasts:
            model = (forecast.model, forecast.kind, None, "", forecast.name, "forecast")
            yield (*model, *vars(forecast.accuracy).values())

    def paper(self, name: str, metric: str, kind: str) -> float | None:
        """Return what the paper prints for a kind on an evaluation set."""
        value = printed(self.experiment.name, "by_set", name, metric, kind)
        return value.mean if value else None

    @cached_property
    def in_paper(self) -> bool:
        """Whether the paper prints any number of these sets and kinds."""
        return bool(self.frame["paper"].notna().any())

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
    def categories(self) -> Mapping[str, Sequence[str]]:
        """The measured sets of every category, both in the order of the experiment."""
        by_category: dict[str, list[str]] = {}
        for entry in self.experiment.sets:
            if entry.category and entry.name in self.sets:
                by_category.setdefault(entry.category, []).append(entry.name)
        return by_category

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """The baselines of any score file."""
        metrics = dict.fromkeys(self.frame["metric"])
        return tuple(m.removeprefix(BASELINE) for m in metrics if m.startswith(BASELINE))

    def main_cells(self, name: str) -> list[Cell]:
        """Return the measured cells of a set with the experiment's own settings; else all."""
        cells = list(self.rows[name])
        return [cell for cell in cells if not cell.variation] or cells

    def runs(self, name: str, every: bool = False) -> dict[str, dict[RunKey, Rows]]:
        """Return the score rows of a set by kind and run, of the `main_cells` or of every cell.

        Rows are sorted by id: resamples are the same as where files are compared.
        """
        by_kind: dict[str, dict[RunKey, Rows]] = {}
        for cell in self.rows[name] if every else self.main_cells(name):
            rows = sorted(self.rows[name][cell], key=lambda row: row.id)
            by_kind.setdefault(cell.kind, {})[cell.subject, cell.seed] = rows
        return by_kind

    def cells(self, kind: str, variation: str | None = "", model: str | None = None) -> list[Cell]:
        """Return the planned cells of a kind, of one variation and initial model; None for all.

        Those of the kind INITIAL are the cells of all kinds that generate.
        """
        kinds = {INITIAL: {cell.kind for cell in self.generations}}.get(kind, {kind})
        cells = [cell for cell in self.experiment.cells if cell.kind in kinds]
        cells = [cell for cell in cells if variation in (None, cell.variation)]
        return [cell for cell in cells if model in (None, cell.model)]

    @cached_property
    def _groups(self) -> Mapping[Any, pd.DataFrame]:
        return dict(iter(self.frame.groupby(["metric", "set", "kind", "variation"], sort=False)))

    def _values(self, metric: str, names: Iterable[str], kind: str, variation: str) -> pd.DataFrame:
        keys = [(metric, name, kind, variation) for name in names]
        parts = [self._groups[key] for key in keys if key in self._groups]
        return pd.concat(parts) if parts else self.frame.iloc[:0]

    def spread(
        self,
        metric: str,
        names: Collection[str],
        kind: str,
        variation: str = "",
        model: str | None = None,
    ) -> Spread | None:
        """Return the mean of a metric over sets and over models, or of one; None without any."""
        values = self._values(metric, names, kind, variation)
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
                (f"{row.model} {row.set}", int(row.seed)): float(row.value)
                for row in self._values("accuracy", names, kind, "").itertuples()
            }
            for kind in pair
        )
        return win_rates(first, second) if first.keys() & second.keys() else None

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """A line for everything planned that is not there: runs, scores, generations, forecasts."""
        return (*self._missing_scores(), *self._missing_generations(), *self._missing_forecasts())

    def _missing_scores(self) -> Iterator[str]:
        names = [entry.name for entry in self.experiment.sets]
        for cell in self.experiment.cells:
            lacking = [name for name in names if cell not in self.rows[name]]
            if lacking and lacking == names:
                yield f"{cell} has {'no scores yet' if cell.run.config.exists() else 'not begun'}"
            elif lacking:
                yield f"{cell} lacks scores for {', '.join(lacking)}"

    def _missing_generations(self) -> Iterator[str]:
        """Not every kind can generate: those do of which some run has."""
        planned = self.experiment.generate
        if planned and not self.generations:
            yield f"no run has generated responses for {', '.join(planned)} yet"
        for cell in self.cells(INITIAL, variation=None):
            lacking = [name for name in planned if name not in self.generations.get(cell, {})]
            if lacking:
                yield f"{cell} has not generated responses for {', '.join(lacking)}"

    def _missing_forecasts(self) -> Iterator[str]:
        known = {forecast.model for forecast in self.forecasts}
        for model in dict.fromkeys(cell.model for cell in self.experiment.cells):
            if self.experiment.forecast and model not in known:
                yield f"there is no forecast from {model} yet"


def read_results(folders: Sequence[str]) -> list[Results]:
    """Read the experiments of grids and run folders, with the scores that there are.

    Raises:
        UserError: See `read_grids` and `measure`.
    """
    return [measure(experiment) for experiment in read_grids(folders)]


def measure(experiment: ExperimentRecord) -> Results:
    """Read the score files that an experiment has so far.

    Raises:
        UserError: A score file is damaged, or rates other records than another of the same set.
    """
    rows: dict[str, dict[Cell, Rows]] = {}
    left_out: dict[str, int] = {}
    for cell in experiment.cells:
        cell.run.check_results()
    for entry in experiment.sets:
        paths = {cell: cell.run.scores(entry.name) for cell in experiment.cells}
        files = {cell: (path, read_scores(path)) for cell, path in paths.items() if path.exists()}
        dropped = _dropped_by_some(entry.name, files)
        rows[entry.name] = _align(entry.name, files, dropped)
        left_out[entry.name] = len(dropped)
    curves = read_curves(experiment)
    shares = {cell: read_shares(cell.shares) for cell in experiment.cells if cell.shares.exists()}
    return Results(experiment, rows, curves, shares, read_forecasts(experiment), left_out)


def share_interval(share: float, n: int) -> Interval:
    """Return a share of `n` independent responses with its exact interval (Clopper-Pearson)."""
    from scipy.stats import binomtest

    bounds = binomtest(round(share * n), n).proportion_ci(1 - 2 * TAIL, "exact")
    return Interval(share, float(bounds.low), float(bounds.high))


def _dropped_by_some(name: str, files: Mapping[Cell, tuple[Path, Rows]]) -> set[str]:
    """Return the ids that some files lack, if their runs list all of these as dropped."""
    ids = {cell: {row.id for row in rows} for cell, (_, rows) in files.items()}
    known: set[str] = set().union(*ids.values())
    lacking = {cell: known - ids[cell] for cell in ids if known - ids[cell]}
    listed = all(lacking[cell] <= read_dropped(cell.run.dropped, name) for cell in lacking)
    some = set().union(*lacking.values())
    return some if listed and some < known else set()


def _align(
    name: str, files: Mapping[Cell, tuple[Path, Rows]], dropped: Collection[str]
) -> dict[Cell, Rows]:
    """All cells' rows in the order of the first cell's, but for those that some have dropped."""
    aligned: dict[Cell, Rows] = {}
    path_of_first, first = next(iter(files.values()), (None, []))
    first = [row for row in first if row.id not in dropped]
    for cell, (path, rows) in files.items():
        rows = [row for row in rows if row.id not in dropped]
        if unshared := count_unshared(first, rows):
            raise UserError(
                f"{path_of_first} and {path} are both scores of {name} but rate different data: "
                f"{unshared} records are in only one of them; score all models on the same data"
            )
        by_id = {row.id: row for row in rows}
        aligned[cell] = [_with_lengths(by_id[row.id], row) for row in first]
    return aligned


def _with_lengths(row: ScoreRow, first: ScoreRow) -> ScoreRow:
    """Return a row with the lengths of another of its record: every kind is beside one baseline.

    Kinds write responses in their own ways, so that their numbers of tokens may differ; and older
    files hold no others.
    """
    lengths = (first.tokens_chosen, first.tokens_rejected, first.baselines.get("longer"))
    if lengths == (row.tokens_chosen, row.tokens_rejected, row.baselines.get("longer")):
        return row
    baselines = {name: row.baselines[name] for name in row.baselines if name != "longer"}
    if lengths[2]:
        baselines["longer"] = lengths[2]
    return replace(row, tokens_chosen=lengths[0], tokens_rejected=lengths[1], baselines=baselines)


def _accuracies(rows: Rows) -> dict[str, float]:
    """Return the measures of a score file, and the accuracy of baselines on its records."""
    scores = [row.scores for row in rows]
    margin = float(np.clip(2 * half_margins(scores).mean(), -MAX, MAX))
    separation = float(separation_and_gradient(separation_moments(scores).mean(axis=0))[0])
    accuracy = float(record_accuracies(scores).mean())
    return {"accuracy": accuracy, "margin": margin, "separation": separation} | {
        f"{BASELINE}{baseline}": float(record_accuracies(rewards).mean())
        for baseline, rewards in baseline_rewards(rows).items()
    }
