"""What is forecast for one kind on one evaluation set, in the form of scores and metrics."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import (
    Convergence,
    KernelTraining,
    Trajectory,
    TrajectoryPoints,
    converge,
    descend,
)
from rewardgap.evaluation.accuracy import prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.measures import Summary, summarise
from rewardgap.evaluation.scores import RecordRewards, ScoreRow, score_row
from rewardgap.forecasting.kernels import EvaluationKernel

Array = NDArray[np.float64]

RESAMPLES = 24
Z = 1.96
"""Standard deviations to either side of a 95 % interval."""


@dataclass(frozen=True)
class ForecastTraining:
    """Training on fixed features, as one kind would go through it.

    Attributes:
        trajectory: Gradient descent on the training rows.
        convergence: Where it ends.
        rows_per_pair: Training rows that a pair makes; the loss of a pair is the sum over them.
        resampled: The S points at the stated loss after training on S resamples of the pairs.
    """

    trajectory: Trajectory
    convergence: Convergence
    rows_per_pair: int
    resampled: TrajectoryPoints

    @classmethod
    def on(cls, training: KernelTraining, rows_per_pair: int, loss: float) -> "ForecastTraining":
        """Train to convergence, and on resamples of the pairs to a stated loss of a pair."""
        samples = (training.resampled(rows_per_pair, seed) for seed in range(RESAMPLES))
        ends = [descend(sample, loss / rows_per_pair).points for sample in samples]
        resampled = TrajectoryPoints(
            np.stack([points.weights[-1] for points in ends]),
            np.array([points.norms[-1] for points in ends]),
        )
        return cls(descend(training), converge(training), rows_per_pair, resampled)


@dataclass(frozen=True)
class ForecastSet:
    """Records as they are evaluated.

    Attributes:
        records: The records.
        trees: The same, as a kind writes them.
        baseline: The content-blind baseline of the training data.
        token_overlap: Share of the response tokens that occur in training responses.
    """

    records: Sequence[Record]
    trees: Sequence[Tree]
    baseline: BagOfWords
    token_overlap: float

    def by_record(self, rewards: Array) -> list[RecordRewards]:
        """Return (R,) rewards of the responses as those of the records."""
        values = iter(rewards.tolist())
        return [
            (
                tuple(next(values) for _ in record.chosen),
                tuple(next(values) for _ in record.rejected),
            )
            for record in self.records
        ]

    def score_rows(self, rewards: Array) -> list[ScoreRow]:
        """Return (R,) rewards of the responses as score rows."""
        of_records = zip(self.records, self.trees, self.by_record(rewards), strict=True)
        return [
            score_row(record, tree, (*chosen, *rejected), self.baseline)
            for record, tree, (chosen, rejected) in of_records
        ]


@dataclass(frozen=True)
class ForecastOutcome:
    """The forecast for one kind on one evaluation set.

    Attributes:
        rows: The forecast rewards at the stated loss.
        at_loss: Accuracy, ties, margin and baselines there. The interval of the accuracy is over
            evaluation records and over training pairs: other pairs would have taught other things.
        resampled: (S, records) accuracies there after training on S resamples of the pairs.
        loss: The stated training loss of a pair, or the lowest that is reached.
        one_step: Accuracy of what the first step alone adds to the rewards.
        convergence: Accuracy where gradient descent ends, to first order.
        separator_share: Share of the pairs with a positive product with the max-margin separator
            of the training pairs (footnote 3), None where they are not separable.
        token_overlap: Share of the response tokens that occur in training responses.
        curve: (loss, accuracy) along gradient descent.
    """

    rows: Sequence[ScoreRow]
    at_loss: Summary
    resampled: Array
    loss: float
    one_step: Interval
    convergence: Interval
    separator_share: float | None
    token_overlap: float
    curve: Sequence[tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Return what forecast.json holds of it."""
        return self.at_loss.to_json() | {
            "loss": self.loss,
            "one_step": asdict(self.one_step),
            "convergence": asdict(self.convergence),
            "separator_share": self.separator_share,
            "token_overlap": self.token_overlap,
            "curve": [{"loss": loss, "accuracy": value} for loss, value in self.curve],
        }


def predict(
    training: ForecastTraining, kernel: EvaluationKernel, evaluated: ForecastSet, loss: float
) -> ForecastOutcome:
    """Evaluate a kind along its training.

    Args:
        training: How training goes.
        kernel: The evaluation set as kernels see it.
        evaluated: The same set.
        loss: Training loss of a pair at which training is expected to stop.
    """
    trajectory, convergence = training.trajectory, training.convergence
    stop = trajectory.reach(loss / training.rows_per_pair)
    along = kernel.trained(trajectory.points)
    rows = evaluated.score_rows(along[:, stop])
    clusters = prompt_clusters(rows)
    # Towards a separator rewards grow without end, and those before training no longer count.
    start = 0 if convergence.separable else kernel.scores
    ends = start + kernel.change(convergence.weights)
    losses = (trajectory.losses * training.rows_per_pair).tolist()

    def accuracies(rewards: Array) -> Array:
        return record_accuracies(evaluated.by_record(rewards))

    resampled = np.stack([accuracies(rewards) for rewards in kernel.trained(training.resampled).T])
    summary = summarise(rows)
    widened = {"accuracy": _widen(summary.accuracy, resampled.mean(1).std())}
    return ForecastOutcome(
        rows=rows,
        at_loss=replace(summary, figures={**summary.figures, **widened}),
        resampled=resampled,
        loss=losses[stop],
        one_step=mean_interval(accuracies(kernel.change(trajectory.first)), clusters),
        convergence=mean_interval(accuracies(ends), clusters),
        separator_share=_positive_share(ends, evaluated) if convergence.separable else None,
        token_overlap=evaluated.token_overlap,
        curve=[
            (value, float(accuracies(rewards).mean()))
            for value, rewards in list(zip(losses, along.T, strict=True))[1:]
        ],
    )


def _widen(accuracy: Interval, deviation: float) -> Interval:
    """Return the interval with a further, independent error of this standard deviation."""
    below = np.hypot(accuracy.value - accuracy.low, Z * deviation)
    above = np.hypot(accuracy.high - accuracy.value, Z * deviation)
    low, high = max(0.0, accuracy.value - below), min(1.0, accuracy.value + above)
    return Interval(accuracy.value, float(low), float(high))


def _positive_share(rewards: Array, evaluated: ForecastSet) -> float:
    """Return the share of pairs with a positive margin; a record's pairs count once."""
    shares = [
        np.mean([c > r for c in chosen for r in rejected])
        for chosen, rejected in evaluated.by_record(rewards)
    ]
    return float(np.mean(shares))


def token_overlap(training: Sequence[Tree], evaluation: Sequence[Tree]) -> float:
    """Return the share of the evaluation responses' tokens that occur in a training response.

    The tokens that end a response are left out on both sides; every response counts once.
    """
    known = {token for tree in training for tokens in _words(tree) for token in tokens}
    shares = [
        np.mean([token in known for token in tokens])
        for tree in evaluation
        for tokens in _words(tree)
        if tokens
    ]
    return float(np.mean(shares)) if shares else 0.0


def _words(tree: Tree) -> list[tuple[int, ...]]:
    return [tree.nodes[leaf][: -tree.closing] for leaf in tree.leaves]
