"""How far chosen and rejected rewards are apart: the signed margin, and the separation.

Both are functions of means over records, with their gradients, as intervals need them.
"""

from collections.abc import Sequence

import numpy as np

from rewardgap.evaluation.accuracy import FlatPairs
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.scores import RecordRewards

LARGEST_SEPARATION = 2.0
"""Of pairs: rewards that differ by d have a standard deviation of d / 2 at least."""


def half_margins(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Return half of each record's mean r(chosen) - r(rejected) over its pairs, shape (records,).

    Halves, for the difference of two huge rewards would overflow.
    """
    pairs = FlatPairs.of(rewards)
    return pairs.mean_by_record(pairs.chosen / 2 - pairs.rejected / 2)


def mean_and_gradient(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the only one of means of shape (..., 1), and its gradient."""
    return means[..., 0], np.ones_like(means)


def separation_moments(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Return per-record terms, shape (records, 4), whose means determine the separation.

    Columns: mean of |r(chosen) - r(rejected)| over the record's pairs, number of responses, sum
    and sum of squares of their rewards. The separation ignores shift and positive scale, so rewards
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


def separation_and_gradient(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the separation mean |r(chosen) - r(rejected)| / s and its gradient.

    The paper calls it the absolute normalised reward margin. s is the population standard
    deviation of all rewards, chosen and rejected; where s = 0 all rewards are equal and the
    separation is 0.

    Args:
        means: Means over records of the columns of `separation_moments`, shape (..., 4).

    Returns:
        (separation, shape (...); gradient by the means, shape (..., 4)).
    """
    gap, size, total, squares = np.moveaxis(means, -1, 0)
    center = total / size
    variance = np.maximum(squares / size - center**2, 0.0)
    inverse = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0)
    separation: FloatArray = gap * inverse
    by_squares = -separation * inverse**2 / (2 * size)
    by_size = by_squares * (center**2 - variance)
    return separation, np.stack([inverse, by_size, -2 * center * by_squares, by_squares], axis=-1)
