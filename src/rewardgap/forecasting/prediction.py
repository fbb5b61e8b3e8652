"""What rehearsals say of the trained model: its accuracy along training, and how sure that is.

Rewards are averaged over the rehearsals' seeds, record by record, before they are compared. Errors
are added on the probit scale, z = Φ⁻¹(accuracy), on which they are alike for all accuracies: of the
records that are not followed, of seeds and samples of pairs, of rehearsing with fewer pairs a step,
and of the random head with which some kinds begin. Of the last two benchmarks/forecast_suite.json
has what trained models say. Where theory agrees with the rehearsals it counts for a part.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.bootstrap import TAIL, Clusters, FloatArray, Interval
from rewardgap.evaluation.scores import RecordRewards
from rewardgap.forecasting.rehearsal import Rehearsal, draw

ERROR, HEADS = 0.25, 0.42
"""Standard deviations on the probit scale: of a forecast's own error, and, beside it, between two
trainings of a kind with a new head, which differ by what was drawn for the head."""
THEORY, AGREEMENT = 0.25, 0.5
"""The part for which theory counts, and how near it has to be on the probit scale to count."""


@dataclass(frozen=True)
class CurvePoint:
    """The accuracy that is expected after some of the training's steps.

    Attributes:
        step: Number of optimiser steps.
        loss: Mean loss of the pairs that the rehearsals learn next before it.
        accuracy: Of the followed records.
    """

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Prediction:
    """The accuracy of a kind on a set that rehearsals predict.

    Attributes:
        accuracy: At the stopping point, with an interval for everything that is not known.
        curve: Along training.
        stop: Number of steps at the stopping point.
        z: Φ⁻¹ of the accuracy.
        deviation: Its standard deviation.
        followed: Number of records that were followed.
        records: Number of records of the set.
    """

    accuracy: Interval
    curve: Sequence[CurvePoint]
    stop: int
    z: float
    deviation: float
    followed: int
    records: int

    def to_json(self) -> dict[str, Any]:
        """Return what forecast.json holds of it."""
        return asdict(self)

    def with_theory(self, accuracy: float) -> "Prediction":
        """Return the prediction with theory's accuracy counted in, if both nearly agree."""
        z = _probit(accuracy, self.followed)
        if abs(z - self.z) >= AGREEMENT:
            return self
        value = (1 - THEORY) * self.accuracy.value + THEORY * accuracy
        z = _probit(value, self.followed)
        return replace(self, z=z, accuracy=_interval(value, z, self.deviation))

    def probability_above(self, accuracy: float) -> float:
        """Return the probability that the trained model is more accurate than this."""
        return float(norm.cdf((self.z - norm.ppf(accuracy)) / self.deviation))

    def probability_better(self, other: "Prediction") -> float:
        """Return the probability that this kind is more accurate than the other."""
        deviation = np.hypot(self.deviation, other.deviation)
        return float(norm.cdf((self.z - other.z) / deviation))


def predict_from(
    rehearsals: Sequence[Rehearsal],
    name: str,
    clusters: Clusters,
    loss: float | None,
    *,
    new_head: bool,
) -> Prediction:
    """Predict the accuracy on a set from rehearsals of one kind.

    Args:
        rehearsals: Of one plan, with different seeds.
        name: The evaluation set.
        clusters: (R,) numbers of the prompts of all of its records.
        loss: Where training stops; None for its end.
        new_head: Whether the kind's training begins with a random head.
    """
    first = rehearsals[0]
    losses = np.mean([rehearsal.losses for rehearsal in rehearsals], axis=0)
    joined = [
        record_accuracies(_mean_rewards([r.rewards[name][point] for r in rehearsals]))
        for point in range(len(first.steps))
    ]
    stop = _stop(losses, loss)
    by_seed = np.array([record_accuracies(r.rewards[name][stop]).mean() for r in rehearsals])
    followed = np.array(draw(draw(clusters.tolist(), len(joined[-1])), len(joined[stop])))
    value = float(joined[stop].mean())
    z = _probit(value, len(followed))
    sampled = _sampling_deviation(z, joined[stop], by_seed, followed, len(clusters))
    deviation = float(np.sqrt(sampled**2 + ERROR**2 + new_head * HEADS**2))
    return Prediction(
        accuracy=_interval(value, z, deviation),
        curve=[
            CurvePoint(int(step), float(value), float(of_step.mean()))
            for step, value, of_step in zip(first.steps, losses, joined, strict=True)
        ],
        stop=int(first.steps[stop]),
        z=z,
        deviation=deviation,
        followed=len(followed),
        records=len(clusters),
    )


def _stop(losses: FloatArray, loss: float | None) -> int:
    """Return the first point whose loss is as low as this, or the last point."""
    reached = np.flatnonzero(losses <= (-np.inf if loss is None else loss))
    return int(reached[0]) if len(reached) else len(losses) - 1


def _mean_rewards(seeds: Sequence[Sequence[RecordRewards]]) -> list[RecordRewards]:
    """Return the rewards of every record, averaged over seeds."""
    return [
        (
            tuple(np.mean([chosen for chosen, _ in of_record], axis=0).tolist()),
            tuple(np.mean([rejected for _, rejected in of_record], axis=0).tolist()),
        )
        for of_record in zip(*seeds, strict=True)
    ]


def _probit(accuracy: float, records: int) -> float:
    """Return Φ⁻¹ of an accuracy on some records, half a record away from 0 and 1."""
    return float(norm.ppf((accuracy * records + 0.5) / (records + 1)))


def _interval(value: float, z: float, deviation: float) -> Interval:
    """Return an accuracy with the interval around Φ⁻¹ of it."""
    half = norm.isf(TAIL) * deviation
    low, high = min(value, norm.cdf(z - half)), max(value, norm.cdf(z + half))
    return Interval(value, float(low), float(high))


def _sampling_deviation(
    z: float, accuracies: FloatArray, seeds: FloatArray, clusters: Clusters, records: int
) -> float:
    """Return the standard deviation of z for the records and seeds that rehearsals took."""
    residuals = np.bincount(clusters, weights=accuracies - accuracies.mean())
    of_records = (residuals**2).sum() / len(accuracies) ** 2 * (1 - len(accuracies) / records)
    of_seeds = seeds.var(ddof=1) * (1 + 1 / len(seeds)) if len(seeds) > 1 else 0.0
    return float(np.sqrt(of_records + of_seeds) / norm.pdf(z))
