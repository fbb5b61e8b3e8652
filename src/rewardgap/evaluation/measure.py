"""What a measure is: a figure of score files that every table, model card and report shows.

A new measure is one file in the folder `measures` that defines `MEASURE`; a program outside the
package calls `register_measure`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pkgutil import iter_modules

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation import measures as folder
from rewardgap.evaluation.accuracy import baseline_rewards, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Clusters, FloatArray, Interval, mean_interval
from rewardgap.evaluation.scores import RecordRewards, ScoreRow


@dataclass(frozen=True)
class ScoredRuns:
    """Score rows that models of several training seeds give to the same records.

    Attributes:
        runs: The rows of each model, all in the same order.
        seed: Of the resamples.
    """

    runs: Sequence[Sequence[ScoreRow]]
    seed: int = 0

    @classmethod
    def of(cls, runs: Sequence[Sequence[ScoreRow]], seed: int = 0) -> "ScoredRuns":
        """Return the rows of each model in the order of their ids.

        Raises:
            UserError: There are no rows, or the models have rows of different ids.
        """
        files = [sorted(rows, key=lambda row: row.id) for rows in runs]
        if not files or not files[0]:
            raise UserError("there are no score rows to summarise")
        ids = [row.id for row in files[0]]
        if any([row.id for row in rows] != ids for rows in files):
            raise UserError(
                "score files of several seeds must have the same ids: score the same data"
            )
        return cls(files, seed)

    @cached_property
    def clusters(self) -> Clusters:
        """The number of each record's prompt, shape (records,)."""
        return prompt_clusters(self.runs[0])

    @cached_property
    def rewards(self) -> list[list[RecordRewards]]:
        """The rewards of every record, by run."""
        return [[row.scores for row in rows] for rows in self.runs]

    @cached_property
    def accuracies(self) -> FloatArray:
        """The accuracy of each record by each run, shape (records, runs)."""
        return np.stack([record_accuracies(rewards) for rewards in self.rewards], axis=1)

    @cached_property
    def baselines(self) -> Mapping[str, FloatArray]:
        """By content-blind baseline that every row has the like of `accuracies`.

        Over part of the records the accuracy of a baseline could not be compared with the model's.
        """
        by_run = [baseline_rewards(rows) for rows in self.runs]
        return {
            name: np.stack([record_accuracies(rules[name]) for rules in by_run], axis=1)
            for name in by_run[0]
            if all(name in rules for rules in by_run)
        }

    def mean(self, values: FloatArray) -> Interval:
        """Return the mean of a value in [0, 1] of each record and run, shape (records, runs)."""
        return mean_interval(values, self.clusters, self.seed)


@dataclass(frozen=True)
class Measure:
    """A figure that is computed from score files and shown in every table of them.

    Attributes:
        name: Its key in `metrics.json`.
        title: Its heading in tables.
        meaning: What it is, as a phrase that follows "TITLE: ".
        compute: Returns the mean over the runs with a 95 % interval over records and runs; None
            where the records do not allow it.
        is_column: Whether the table of `rewardgap metrics` has a column for it; otherwise it is a
            line below those files that have it.
    """

    name: str
    title: str
    meaning: str
    compute: Callable[[ScoredRuns], Interval | None]
    is_column: bool = False


_registered: list[Measure] = []


def register_measure(measure: Measure) -> None:
    """Add a measure to those that are computed and shown.

    Raises:
        UserError: There is a measure of this name.
    """
    if any(known.name == measure.name for known in measures()):
        raise UserError(f"there is a measure named {measure.name!r} already; choose another name")
    _registered.append(measure)


def measures() -> tuple[Measure, ...]:
    """Return every measure: those of the folder by file name, then those registered."""
    return (*_measures_of_folder(), *_registered)


@cache
def _measures_of_folder() -> tuple[Measure, ...]:
    names = sorted(module.name for module in iter_modules(folder.__path__))
    return tuple(import_module(f"{folder.__name__}.{name}").MEASURE for name in names)
