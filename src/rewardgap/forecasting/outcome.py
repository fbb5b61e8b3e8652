"""What is forecast for one kind on one evaluation set, in the form of scores and metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
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
from rewardgap.evaluation.accuracy import FlatPairs, prompt_clusters, record_accuracies
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

    A pair makes `rows_per_pair` training rows, over which its loss is summed; `resampled` are the S
    points at the stated loss after training on S resamples of the pairs.
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
        norms = np.array([points.norms[-1] for points in ends])
        resampled = TrajectoryPoints(np.stack([points.weights[-1] for points in ends]), norms)
        return cls(descend(training), converge(training), rows_per_pair, resampled)


@dataclass(frozen=True)
class ForecastSet:
    """Records as they are evaluated, and as any of the kinds writes them.

    With the bag of words of the training data, and the share of the response tokens that
    occur in training responses.
    """

    records: Sequence[Record]
    trees: Sequence[Tree]
    baseline: BagOfWords
    token_overlap: float

    def by_record(self, rewards: Array) -> list[RecordRewards]:
        """Return (R,) rewards of the responses as those of the records."""
        values = iter(rewards.tolist())
        return [
            (tuple(islice(values, len(r.chosen))), tuple(islice(values, len(r.rejected))))
            for r in self.records
        ]


@dataclass(frozen=True)
class ForecastOutcome:
    """The forecast for one kind on one evaluation set.

    Attributes:
        rows: The forecast rewards at the stated loss.
        at_loss: Measures and baselines there. The interval of the accuracy is over evaluation
            records and over training pairs: other pairs would have taught other things.
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

    @property
    def accuracy(self) -> Interval:
        """The accuracy at the stated loss."""
        return self.at_loss.accuracy

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
    """Evaluate a kind along its training, on an evaluation set and its kernel.

    Training is expected to stop at this loss of a pair.
    """
    trajectory, convergence = training.trajectory, training.convergence
    stop = trajectory.reach(loss / training.rows_per_pair)
    along = kernel.trained(trajectory.points)
    values = iter(along[:, stop].tolist())
    rows = [
        score_row(record, tree, list(islice(values, len(record.responses))), evaluated.baseline)
        for record, tree in zip(evaluated.records, evaluated.trees, strict=True)
    ]
    clusters = prompt_clusters(rows)
    # Towards a separator rewards grow without end, and those before training no longer count.
    start = 0 if convergence.separable else kernel.scores
    ends = start + kernel.change(convergence.weights)
    pairs = FlatPairs.of(evaluated.by_record(ends))
    positive = float(pairs.mean_by_record((pairs.order > 0).astype(np.float64)).mean())
    losses = (trajectory.losses * training.rows_per_pair).tolist()

    def accuracies(rewards: Array) -> Array:
        return record_accuracies(evaluated.by_record(rewards))

    resampled = np.stack([accuracies(rewards) for rewards in kernel.trained(training.resampled).T])
    summary = summarise(rows)
    widened = _widen(summary.accuracy, resampled.mean(1).std())
    return ForecastOutcome(
        rows=rows,
        at_loss=replace(summary, figures={**summary.figures, "accuracy": widened}),
        resampled=resampled,
        loss=losses[stop],
        one_step=mean_interval(accuracies(kernel.change(trajectory.first)), clusters),
        convergence=mean_interval(accuracies(ends), clusters),
        separator_share=positive if convergence.separable else None,
        token_overlap=evaluated.token_overlap,
        curve=[
            (value, float(accuracies(rewards).mean()))
            for value, rewards in zip(losses[1:], along.T[1:], strict=True)
        ],
    )


def _widen(accuracy: Interval, deviation: float) -> Interval:
    """Return the interval with a further, independent error of this standard deviation."""
    below = np.hypot(accuracy.value - accuracy.low, Z * deviation)
    above = np.hypot(accuracy.high - accuracy.value, Z * deviation)
    low, high = max(0.0, accuracy.value - below), min(1.0, accuracy.value + above)
    return Interval(accuracy.value, float(low), float(high))


def token_overlap(training: Sequence[Tree], evaluation: Sequence[Tree]) -> float:
    """Return the share of the evaluation responses' tokens that occur in a training response.

    The tokens that end a response are left out on both sides; every response counts once.
    """
    known = set(chain.from_iterable(_responses(training)))
    shares = [np.mean([t in known for t in tokens]) for tokens in _responses(evaluation) if tokens]
    return float(np.mean(shares)) if shares else 0.0


def _responses(trees: Sequence[Tree]) -> Iterator[tuple[int, ...]]:
    return (tree.nodes[leaf][: -tree.closing] for tree in trees for leaf in tree.leaves)
