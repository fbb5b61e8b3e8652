"""Absolute normalised reward margin: mean |r(chosen) - r(rejected)| over the rewards' spread."""

from collections.abc import Sequence

import numpy as np

from rewardgap.evaluation.accuracy import FlatPairs
from rewardgap.evaluation.bootstrap import (
    FloatArray,
    Interval,
    interval_of_draws,
    over_seeds,
    studentised_draws,
)
from rewardgap.evaluation.measure import Measure, ScoredRuns
from rewardgap.evaluation.scores import RecordRewards


def mean_margin(scored: ScoredRuns) -> Interval:
    """Return the mean over runs of the margin."""
    moments = [margin_moments(rewards) for rewards in scored.rewards]
    values = np.array([margin_from_moments(by_record.mean(axis=0)) for by_record in moments])
    draws = [
        studentised_draws(by_record, scored.clusters, margin_and_gradient, scored.seed)
        for by_record in moments
    ]
    return interval_of_draws(
        float(values.mean()), over_seeds(values, np.stack(draws, axis=1), scored.seed)
    )


def margin_moments(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Return per-record terms, shape (records, 4), whose means determine the margin.

    Columns: mean of |r(chosen) - r(rejected)| over the record's pairs, number of responses, sum
    and sum of squares of their rewards. The margin ignores shift and positive scale, so rewards
    are first divided by the largest and centred on the median: squares then neither overflow
    nor cancel, not even in a resample that happens to leave an outlier out.
    """
    flat = np.array([reward for sides in rewards for side in sides for reward in side])
    largest = np.abs(flat).max() or 1.0
    flat = flat / largest
    flat = flat - np.median(flat)
    sizes = np.array([len(chosen) + len(rejected) for chosen, rejected in rewards])
    starts = np.cumsum(sizes) - sizes
    pairs = FlatPairs.of(rewards)
    gaps = np.abs(pairs.chosen / largest - pairs.rejected / largest)
    sums, squares = np.add.reduceat(flat, starts), np.add.reduceat(flat**2, starts)
    return np.stack([pairs.mean_by_record(gaps), sizes, sums, squares], axis=1)


def margin_from_moments(means: FloatArray) -> FloatArray:
    """Return the normalised margin mean |r(chosen) - r(rejected)| / s, shape (...).

    s is the population standard deviation of all rewards, chosen and rejected; where s = 0 all
    rewards are equal and the margin is 0.

    Args:
        means: Means over records of the columns of `margin_moments`, shape (..., 4).
    """
    return margin_and_gradient(means)[0]


def margin_and_gradient(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `margin_from_moments`, shape (...), and its gradient by the means, (..., 4)."""
    gap, size, total, squares = np.moveaxis(means, -1, 0)
    center = total / size
    variance = np.maximum(squares / size - center**2, 0.0)
    inverse = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0)
    margin: FloatArray = gap * inverse
    by_squares = -margin * inverse**2 / (2 * size)
    by_size = by_squares * (center**2 - variance)
    return margin, np.stack([inverse, by_size, -2 * center * by_squares, by_squares], axis=-1)


MEASURE = Measure(
    name="margin",
    title="margin",
    meaning="mean distance of chosen and rejected rewards in standard deviations",
    compute=mean_margin,
    is_column=True,
)
