"""What the runs of an experiment measured: its score files, aligned, and means over them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import baseline_rewards, record_accuracies
from rewardgap.evaluation.comparisons import count_unshared
from rewardgap.evaluation.measures.margin import margin_from_moments, margin_moments
from rewardgap.evaluation.scores import ScoreRow, read_scores
from rewardgap.io.grid_folder import Cell, ExperimentRecord
from rewardgap.reporting.artifacts import (
    Curve,
    Forecast,
    Generated,
    read_curves,
    read_forecasts,
    read_generations,
)

Rows = Sequence[ScoreRow]

INITIAL = "initial model"
"""Stands for a kind where a model before training is measured."""


@dataclass(frozen=True)
class Point:
    """Accuracy and margin of one score file, and of content-blind rules, without intervals."""

    accuracy: float
    margin: float
    rules: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds of means over models (and evaluation sets).

    Attributes:
        mean: The mean over seeds.
        deviation: Standard deviation of the seeds' means: that of the seeds themselves (divided by
            their number, NumPy's default; the paper does not say which). None for a single seed.
        seeds: Number of seeds.
        found: Number of score files in it.
        planned: Number of score files that the experiment plans; more than `found` in an
            unfinished grid.
    """

    mean: float
    deviation: float | None
    seeds: int
    found: int
    planned: int

    @classmethod
    def of(cls, values: Mapping[int, Sequence[float]], planned: int) -> "Spread":
        """The spread of at least one value, given by seed."""
        means = [float(np.mean(some)) for some in values.values()]
        deviation = float(np.std(means)) if len(means) > 1 else None
        found = sum(map(len, values.values()))
        return cls(float(np.mean(means)), deviation, len(means), found, planned)


@dataclass(frozen=True)
class Measured:
    """An experiment with the score files that there are.

    Attributes:
        experiment: The experiment.
        rows: By evaluation set and cell the score rows; all cells of a set in the same order.
        curves: Training curves of the runs that have begun.
        generations: By run and set the shares of correct generations, where a run generated.
        forecasts: Forecast accuracies.
    """

    experiment: ExperimentRecord
    rows: Mapping[str, Mapping[Cell, Rows]]
    curves: Mapping[Cell, Curve] = field(default_factory=dict)
    generations: Mapping[Cell, Mapping[str, Generated]] = field(default_factory=dict)
    forecasts: Sequence[Forecast] = ()

    @cached_property
    def points(self) -> Mapping[str, Mapping[Cell, Point]]:
        """Accuracy and margin of every score file, by evaluation set and cell."""
        return {
            name: {cell: _point(rows) for cell, rows in cells.items()}
            for name, cells in self.rows.items()
        }

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds with at least one score file, in the order of the experiment."""
        return self._having(lambda cell: cell.kind)

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Initial models (and variations) with at least one score file."""
        return self._having(lambda cell: cell.subject)

    def _having(self, name: Callable[[Cell], str]) -> tuple[str, ...]:
        measured = {cell for cells in self.rows.values() for cell in cells}
        return tuple(
            dict.fromkeys(name(cell) for cell in self.experiment.cells if cell in measured)
        )

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """The measured sets of every category, both in the order of the experiment."""
        found: dict[str, list[str]] = {}
        for each in self.experiment.sets:
            if each.category and self.rows.get(each.name):
                found.setdefault(each.category, []).append(each.name)
        return {category: tuple(names) for category, names in found.items()}

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """The sets with at least one score file, in the order of the experiment."""
        return tuple(each.name for each in self.experiment.sets if self.rows.get(each.name))

    def cells(self, kind: str, variation: str = "") -> list[Cell]:
        """The planned cells of a kind under the experiment's own settings, or a variation."""
        return [
            cell
            for cell in self.experiment.cells
            if (cell.kind, cell.variation) == (kind, variation)
        ]

    def cells_of(self, subject: str, kind: str) -> list[Cell]:
        """The planned cells of a kind from an initial model (and variation): one a seed."""
        own = (subject, kind)
        return [cell for cell in self.experiment.cells if (cell.subject, cell.kind) == own]

    def spread(
        self, names: Collection[str], cells: Collection[Cell], metric: Callable[[Point], float]
    ) -> Spread | None:
        """Mean over cells and sets, and its deviation over seeds; None where nothing is there."""
        values: dict[int, list[float]] = {}
        for points in (self.points[name] for name in names):
            for cell in cells:
                if cell in points:
                    values.setdefault(cell.seed, []).append(metric(points[cell]))
        return Spread.of(values, planned=len(names) * len(cells)) if values else None

    def by_set(
        self, subject: str, metric: Callable[[Point], float]
    ) -> dict[str, list[Spread | None]]:
        """For each kind, the spreads over seeds of a subject on every measured set."""
        found = {}
        for kind in self.kinds:
            cells = self.cells_of(subject, kind)
            if cells:
                found[kind] = [self.spread([name], cells, metric) for name in self.sets]
        return found

    @cached_property
    def correct_generations(self) -> Mapping[tuple[str, str], Spread]:
        """By (set, kind) the share of correct generations; of the initial models as INITIAL."""
        values: dict[tuple[str, str], dict[int, list[float]]] = {}
        for cell, by_name in self.generations.items():
            for name, generated in by_name.items():
                shares = {cell.kind: generated.correct, INITIAL: generated.initial}
                for kind, share in shares.items():
                    if share is not None:
                        own = values.setdefault((name, kind), {})
                        own.setdefault(cell.seed, []).append(share)
        kinds = {cell.kind for cell in self.generations}
        planned = Counter(cell.kind for cell in self.experiment.cells if cell.kind in kinds)
        planned[INITIAL] = planned.total()
        return {
            (name, kind): Spread.of(each, planned=planned[kind])
            for (name, kind), each in values.items()
        }

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """A line for everything planned that is not there: runs, scores, generations, forecasts."""
        return (*self._missing_scores(), *self._missing_generations(), *self._missing_forecasts())

    def _missing_scores(self) -> Iterator[str]:
        for cell in self.experiment.cells:
            lacking = [
                each.name for each in self.experiment.sets if cell not in self.rows[each.name]
            ]
            if lacking and len(lacking) == len(self.experiment.sets):
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
            known = {each.model for each in self.forecasts}
            for model in dict.fromkeys(cell.model for cell in self.experiment.cells):
                if model not in known:
                    yield f"there is no forecast from {model} yet"


def measure(experiment: ExperimentRecord) -> Measured:
    """Read the score files that an experiment has so far.

    Raises:
        UserError: A score file is damaged, or rates other records than another of the same set.
    """
    rows: dict[str, dict[Cell, Rows]] = {}
    for each in experiment.sets:
        paths = {cell: cell.run.scores(each.name) for cell in experiment.cells}
        files = {cell: (path, read_scores(path)) for cell, path in paths.items() if path.exists()}
        rows[each.name] = _align(each.name, files)
    return Measured(
        experiment,
        rows,
        read_curves(experiment),
        read_generations(experiment),
        read_forecasts(experiment),
    )


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


def _point(rows: Rows) -> Point:
    scores = [row.scores for row in rows]
    margin = margin_from_moments(margin_moments(scores).mean(axis=0))
    rules = {
        rule: float(record_accuracies(rewards).mean())
        for rule, rewards in baseline_rewards(rows).items()
    }
    return Point(float(record_accuracies(scores).mean()), float(margin), rules)
