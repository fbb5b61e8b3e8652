"""Measures of score files that every table, model card and report shows, and their summary.

A new measure is a function and an entry in `MEASURES`; a program outside the package calls
`register_measure`. Intervals are 95 % bootstrap intervals over records; those of one prompt are
resampled together. Rows may come in any order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import (
    CHANCE,
    baseline_rewards,
    count_ties,
    prompt_clusters,
    record_accuracies,
)
from rewardgap.evaluation.bootstrap import (
    Clusters,
    FloatArray,
    Interval,
    Statistic,
    interval_of_draws,
    mean_interval,
    over_seeds,
    studentised_draws,
)
from rewardgap.evaluation.margins import (
    LARGEST_SEPARATION,
    half_margins,
    mean_and_gradient,
    separation_and_gradient,
    separation_moments,
)
from rewardgap.evaluation.scores import RecordRewards, Rewards, ScoreRow
from rewardgap.io.files import MAX


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
        """By baseline that every row has the like of `accuracies`.

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


def mean_margin(scored: ScoredRuns) -> Interval:
    """Return the mean over runs of r(chosen) - r(rejected), each record counting once."""
    halves = [half_margins(rewards)[:, None] for rewards in scored.rewards]
    largest = float(max(np.abs(half).max() for half in halves)) or 1.0  # whose square is finite
    over = _over_runs([half / largest for half in halves], mean_and_gradient, scored)
    return Interval(*(min(max(2 * end * largest, -MAX), MAX) for end in astuple(over)))


def mean_separation(scored: ScoredRuns) -> Interval:
    """Return the mean over runs of the separation, which of pairs is in [0, 2]."""
    moments = [separation_moments(rewards) for rewards in scored.rewards]
    over = _over_runs(moments, separation_and_gradient, scored)
    most = max(LARGEST_SEPARATION, over.value)
    return Interval(over.value, max(over.low, 0.0), min(over.high, most))


def _over_runs(columns: Sequence[FloatArray], statistic: Statistic, scored: ScoredRuns) -> Interval:
    """Return the mean over runs of a function of the means of each run's columns."""
    values = np.array([statistic(by_record.mean(axis=0))[0] for by_record in columns])
    draws = [
        studentised_draws(by_record, scored.clusters, statistic, scored.seed)
        for by_record in columns
    ]
    return interval_of_draws(
        float(values.mean()), over_seeds(values, np.stack(draws, axis=1), scored.seed)
    )


def accuracy_where_longer_fails(scored: ScoredRuns) -> Interval | None:
    """Return the accuracy where the longer-wins rule is right less than half of the time.

    None where there are no such records, or lengths are unknown.
    """
    if "longer" not in scored.baselines:
        return None
    fails = scored.baselines["longer"].mean(axis=1) < CHANCE
    if not fails.any():
        return None
    without_gaps = np.unique(scored.clusters[fails], return_inverse=True)[1]
    return mean_interval(scored.accuracies[fails], without_gaps, scored.seed)


def best_of_n(scored: ScoredRuns) -> Interval | None:
    """Return how often the one right response of several has the highest reward.

    Of k equal highest rewards it gets 1/k, as in RewardBench 2. Subsets with records of several
    right responses do not count. None where no record has one right and several wrong responses.
    """
    counted = _count_best_of_n(scored.runs[0])
    if not counted.any():
        return None
    values = np.array(
        [
            [
                best_share(*row.scores)
                for row, is_counted in zip(rows, counted, strict=True)
                if is_counted
            ]
            for rows in scored.runs
        ]
    )
    without_gaps = np.unique(scored.clusters[counted], return_inverse=True)[1]
    return mean_interval(values.T, without_gaps, scored.seed)


def chance_of_best_of_n(scored: ScoredRuns) -> Interval | None:
    """Return `best_of_n` of a rule that finds all responses equal."""
    rows = scored.runs[0]
    chances = np.array([1 / (1 + len(row.scores_rejected)) for row in rows])[_count_best_of_n(rows)]
    if not len(chances):
        return None
    chance = float(chances.mean())
    return Interval(chance, chance, chance)


def _count_best_of_n(rows: Sequence[ScoreRow]) -> NDArray[np.bool_]:
    """Return which rows count: one right and several wrong responses, as all in their subset."""
    several = {row.subset for row in rows if len(row.scores_chosen) > 1} - {""}
    return np.array(
        [
            len(row.scores_chosen) == 1
            and len(row.scores_rejected) > 1
            and row.subset not in several
            for row in rows
        ]
    )


def best_share(chosen: Rewards, rejected: Rewards) -> float:
    """Return 1 if the chosen response has the highest reward, 1/k of k equal ones, else 0."""
    if chosen[0] < max(rejected):
        return 0.0
    return 1 / (1 + rejected.count(chosen[0]))


MEASURES = [
    Measure(
        "accuracy",
        "accuracy",
        "share of pairs ranked right (a tie counts ½)",
        lambda scored: scored.mean(scored.accuracies),
        is_column=True,
    ),
    Measure(
        "margin",
        "margin",
        "mean of chosen less rejected reward, in the kind's own unit",
        mean_margin,
        is_column=True,
    ),
    Measure(
        "separation",
        "separation",
        "mean distance of chosen and rejected rewards in standard deviations, whichever is higher "
        "(the paper's absolute reward margin)",
        mean_separation,
        is_column=True,
    ),
    Measure(
        "where_longer_fails",
        "where longer fails",
        "accuracy on the records on which the longer response loses",
        accuracy_where_longer_fails,
    ),
    Measure(
        "best_of_n",
        "best of n",
        "share of the records of one right and several wrong responses on which the right one has "
        "the highest reward (of k equal ones 1/k), as RewardBench 2 counts",
        best_of_n,
    ),
    Measure(
        "best_of_n_by_chance",
        "best of n by chance",
        "the same if all rewards are equal",
        chance_of_best_of_n,
    ),
]


def register_measure(measure: Measure) -> None:
    """Add a measure to those that are computed and shown.

    Raises:
        UserError: There is a measure of this name.
    """
    if any(known.name == measure.name for known in MEASURES):
        raise UserError(f"there is a measure named {measure.name!r} already; choose another name")
    MEASURES.append(measure)


@dataclass(frozen=True)
class Summary:
    """What is reported about one score file, or about those of models that differ by their seed.

    Attributes:
        n: Number of records.
        ties: Number of chosen x rejected pairs with equal rewards, in all files together.
        figures: By name of a measure its figure; without measures that the records do not allow.
        baselines: Accuracy of every baseline on the same records.
    """

    n: int
    ties: int
    figures: Mapping[str, Interval]
    baselines: Mapping[str, Interval]

    @property
    def accuracy(self) -> Interval:
        """Share of pairs ranked right."""
        return self.figures["accuracy"]

    @property
    def margin(self) -> Interval:
        """Mean of r(chosen) - r(rejected)."""
        return self.figures["margin"]

    @property
    def separation(self) -> Interval:
        """Mean of |r(chosen) - r(rejected)| in standard deviations of all rewards."""
        return self.figures["separation"]

    def to_json(self) -> dict[str, Any]:
        """Return the nested dictionary of `metrics.json` and `rewardgap metrics --json`."""
        columns = [measure.name for measure in MEASURES if measure.is_column]
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        return {
            "n": self.n,
            "ties": self.ties,
            **{name: figures.pop(name) for name in columns if name in figures},
            "baselines": {name: asdict(figure) for name, figure in self.baselines.items()},
            **figures,
        }


def summarise(*runs: Sequence[ScoreRow], seed: int = 0) -> Summary:
    """Summarise a score file, or those of models of several training seeds for the same records.

    Values are means over the runs; intervals are over records and runs, see `over_seeds`.

    Raises:
        UserError: There are no rows, or the files have different ids.
    """
    scored = ScoredRuns.of(runs, seed)
    figures = {measure.name: measure.compute(scored) for measure in MEASURES}
    return Summary(
        n=len(scored.runs[0]),
        ties=sum(map(count_ties, scored.rewards)),
        figures={name: figure for name, figure in figures.items() if figure is not None},
        baselines={name: scored.mean(values) for name, values in scored.baselines.items()},
    )


def by_subset(rows: Sequence[ScoreRow], seed: int = 0) -> dict[str, Interval]:
    """Return the figure of every subset of a benchmark, by a title that names figure and subset.

    It is `best_of_n` where all records of the subset have one right response and several wrong
    ones, else the accuracy. Empty unless there are several subsets.
    """
    names = sorted({row.subset for row in rows} - {""})
    figures = {}
    for name in names if len(names) > 1 else ():
        subset = [row for row in rows if row.subset == name]
        scored = ScoredRuns.of([subset], seed)
        if _count_best_of_n(subset).all() and (best := best_of_n(scored)):
            figures[f"best of n, {name}"] = best
        else:
            figures[f"accuracy, {name}"] = scored.mean(scored.accuracies)
    return figures
