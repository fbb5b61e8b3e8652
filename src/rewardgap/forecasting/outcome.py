"""What is forecast for one kind on one evaluation set, in the form of scores and metrics."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.data.records import Record, prompt_id
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Limit, Path, Points, Training, converge, descend
from rewardgap.evaluation.accuracy import (
    prompt_clusters,
    record_accuracies,
)
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.scores import RecordRewards, ScoreRow
from rewardgap.evaluation.summary import Summary, summarise
from rewardgap.forecasting.evaluation import Evaluation

Array = NDArray[np.float64]

RESAMPLES = 24
Z = 1.96
"""Standard deviations to either side of a 95 % interval."""


@dataclass(frozen=True)
class Trained:
    """Training on fixed features, as one kind would go through it.

    Attributes:
        path: gradient descent on the training rows.
        limit: where it ends.
        rows_per_pair: training rows that a pair makes; the loss of a pair is the sum over them.
        resampled: the S points at the stated loss after training on S resamples of the pairs.
    """

    path: Path
    limit: Limit
    rows_per_pair: int
    resampled: Points

    @classmethod
    def on(cls, training: Training, rows_per_pair: int, loss: float) -> "Trained":
        """Train to convergence, and on resamples of the pairs to a stated loss of a pair."""
        samples = (training.resampled(rows_per_pair, seed) for seed in range(RESAMPLES))
        ends = [descend(sample, loss / rows_per_pair).points for sample in samples]
        resampled = Points(
            np.stack([points.weights[-1] for points in ends]),
            np.array([points.norms[-1] for points in ends]),
        )
        return cls(descend(training), converge(training), rows_per_pair, resampled)

    def at(self, loss: float) -> Points:
        """The point where the loss of a pair is at most this, or the lowest that is reached."""
        return self.path.at(loss / self.rows_per_pair)


@dataclass(frozen=True)
class EvaluationSet:
    """Records as they are evaluated.

    Attributes:
        records: the records.
        trees: the same, as a kind writes them.
        blind: for each record the rewards of the bag-of-words rule.
        token_overlap: share of the response tokens that occur in training responses.
    """

    records: Sequence[Record]
    trees: Sequence[Tree]
    blind: Sequence[RecordRewards]
    token_overlap: float


@dataclass(frozen=True)
class Outcome:
    """The forecast for one kind on one evaluation set.

    Attributes:
        rows: the forecast rewards at the stated loss.
        at_loss: accuracy, ties, margin and baselines there. The interval of the accuracy is over
            evaluation records and over training pairs: other pairs would have taught other things.
        resampled: (S, records) accuracies there after training on S resamples of the pairs.
        loss: the stated training loss of a pair, or the lowest that is reached.
        one_step: accuracy of what the first step alone adds to the rewards.
        convergence: accuracy where gradient descent ends, to first order.
        separator_share: share of the pairs with a positive product with the max-margin separator
            of the training pairs (footnote 3), None where they are not separable.
        token_overlap: share of the response tokens that occur in training responses.
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
        """What forecast.json holds of it."""
        return self.at_loss.to_json() | {
            "loss": self.loss,
            "one_step": asdict(self.one_step),
            "convergence": asdict(self.convergence),
            "separator_share": self.separator_share,
            "token_overlap": self.token_overlap,
            "curve": [{"loss": loss, "accuracy": value} for loss, value in self.curve],
        }


def predict(trained: Trained, evaluation: Evaluation, data: EvaluationSet, loss: float) -> Outcome:
    """Evaluate a kind along its training.

    Args:
        trained: how training goes.
        evaluation: the set as kernels see it.
        data: the same set.
        loss: training loss of a pair at which training is expected to stop.
    """
    path, limit = trained.path, trained.limit
    stop = path.reach(loss / trained.rows_per_pair)
    along = evaluation.trained(path.points)
    rows = _score_rows(along[:, stop], data)
    # Towards a separator rewards grow without end, and those before training no longer count.
    start = 0 if limit.separable else evaluation.scores
    ends = start + evaluation.change(limit.weights)
    losses = (path.losses * trained.rows_per_pair).tolist()
    resampled = np.stack(
        [
            record_accuracies(_by_record(rewards, data.records))
            for rewards in evaluation.trained(trained.resampled).T
        ]
    )
    summary = summarise(rows)
    widened = {"accuracy": _widen(summary.accuracy, resampled.mean(1).std())}
    return Outcome(
        rows=rows,
        at_loss=replace(summary, figures={**summary.figures, **widened}),
        resampled=resampled,
        loss=losses[stop],
        one_step=_accuracy(evaluation.change(path.first), data),
        convergence=_accuracy(ends, data),
        separator_share=_positive_share(ends, data.records) if limit.separable else None,
        token_overlap=data.token_overlap,
        curve=[
            (each, float(record_accuracies(_by_record(rewards, data.records)).mean()))
            for each, rewards in list(zip(losses, along.T, strict=True))[1:]
        ],
    )


def _widen(accuracy: Interval, deviation: float) -> Interval:
    """The interval with a further, independent error of this standard deviation."""
    below = np.hypot(accuracy.value - accuracy.low, Z * deviation)
    above = np.hypot(accuracy.high - accuracy.value, Z * deviation)
    low, high = max(0.0, accuracy.value - below), min(1.0, accuracy.value + above)
    return Interval(accuracy.value, float(low), float(high))


def _by_record(rewards: Array, records: Sequence[Record]) -> list[RecordRewards]:
    """Rewards of responses, one after the other, as those of records."""
    values = iter(rewards.tolist())
    return [
        (tuple(next(values) for _ in record.chosen), tuple(next(values) for _ in record.rejected))
        for record in records
    ]


def _score_rows(rewards: Array, data: EvaluationSet) -> list[ScoreRow]:
    parts = zip(
        data.records, data.trees, _by_record(rewards, data.records), data.blind, strict=True
    )
    return [
        ScoreRow(
            id=record.id,
            scores_chosen=chosen,
            scores_rejected=rejected,
            tokens_chosen=tree.lengths[: tree.chosen],
            tokens_rejected=tree.lengths[tree.chosen :],
            truncated=tree.truncated,
            baselines={"bag_of_words": blind},
            prompt=prompt_id(record.prompt),
        )
        for record, tree, (chosen, rejected), blind in parts
    ]


def _accuracy(rewards: Array, data: EvaluationSet) -> Interval:
    rows = _score_rows(rewards, data)
    return mean_interval(record_accuracies([row.scores for row in rows]), prompt_clusters(rows))


def _positive_share(rewards: Array, records: Sequence[Record]) -> float:
    """Share of the pairs, a record's pairs counting once, with a positive margin."""
    shares = [
        np.mean([c > r for c in chosen for r in rejected])
        for chosen, rejected in _by_record(rewards, records)
    ]
    return float(np.mean(shares))


def token_overlap(training: Sequence[Tree], evaluation: Sequence[Tree]) -> float:
    """Share of the evaluation responses' tokens that occur in a training response.

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
