"""Accuracy and normalised reward margin of score rows, with intervals and content-blind baselines.

Every value is a mean over records (a ratio of such means for the margin); a record of several
responses counts once, as the mean over its chosen x rejected pairs. Intervals are 95 % percentile
bootstrap intervals over records. All figures of one summary see the same resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.errors import UserError
from rewardgap.scores import RecordRewards, ScoreRow

FloatArray = NDArray[np.float64]

RESAMPLES = 2000
TAIL = 0.025
"""Probability left out at either end of an interval."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % confidence interval [low, high]."""

    value: float
    low: float
    high: float

    def __neg__(self) -> "Interval":
        """Interval of the negated quantity."""
        return Interval(-self.value, -self.high, -self.low)


@dataclass(frozen=True)
class Summary:
    """What is reported about one score file.

    Attributes:
        n: Number of records.
        ties: Number of chosen x rejected pairs with equal rewards.
        accuracy: See `record_accuracies`.
        margin: Absolute normalised reward margin, see `margin_from_moments`.
        baselines: Accuracy of every content-blind rule on the same records.
    """

    n: int
    ties: int
    accuracy: Interval
    margin: Interval
    baselines: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """The summary as the nested dictionary that `rewardgap metrics --json` prints."""
        return asdict(self)


def summarise(rows: Sequence[ScoreRow], seed: int = 0) -> Summary:
    """Accuracy, margin, ties and baselines of one score file, with 95 % bootstrap intervals.

    A baseline is reported only where every row has it: over part of the records its accuracy
    could not be compared with the model's.

    Raises:
        UserError: If there are no rows.
    """
    if not rows:
        raise UserError("there are no score rows to summarise")
    scores = [row.scores for row in rows]
    rules = baseline_rewards(rows)
    accuracies = np.stack(
        [record_accuracies(scores), *map(record_accuracies, rules.values())], axis=1
    )
    moments = margin_moments(scores)
    resampled = bootstrap_means(np.concatenate([accuracies, moments], axis=1), seed)
    split = accuracies.shape[1]
    intervals = list(map(mean_interval, accuracies.T, resampled[:, :split].T))
    margins = margin_from_moments(resampled[:, split:])
    margin = float(margin_from_moments(moments.mean(axis=0)))
    return Summary(
        n=len(rows),
        ties=count_ties(scores),
        accuracy=intervals[0],
        margin=Interval(margin, *_percentiles(margins)),
        baselines=dict(zip(rules, intervals[1:], strict=True)),
    )


def baseline_rewards(rows: Sequence[ScoreRow]) -> dict[str, list[RecordRewards]]:
    """Rewards of the content-blind rules that every row has.

    `longer` rewards a response by its tokens, `shorter` by their negative; then the rules
    stored in the rows themselves.
    """
    rules: dict[str, list[RecordRewards]] = {}
    if all(row.tokens_chosen for row in rows):
        rules["longer"] = [_lengths(row, sign=1) for row in rows]
        rules["shorter"] = [_lengths(row, sign=-1) for row in rows]
    stored = [name for name in rows[0].baselines if all(name in row.baselines for row in rows)]
    return rules | {name: [row.baselines[name] for row in rows] for name in stored}


def _lengths(row: ScoreRow, sign: int) -> RecordRewards:
    return (
        tuple(float(sign * tokens) for tokens in row.tokens_chosen),
        tuple(float(sign * tokens) for tokens in row.tokens_rejected),
    )


@dataclass(frozen=True)
class _Pairs:
    """Every chosen x rejected pair of every record, flat; each array has one entry a pair."""

    record: NDArray[np.intp]
    chosen: FloatArray
    rejected: FloatArray

    def mean_by_record(self, values: FloatArray) -> FloatArray:
        return np.bincount(self.record, weights=values) / np.bincount(self.record)


def _pairs(rewards: Sequence[RecordRewards]) -> _Pairs:
    counts = [len(chosen) * len(rejected) for chosen, rejected in rewards]
    return _Pairs(
        record=np.repeat(np.arange(len(rewards)), counts),
        chosen=np.array([c for chosen, rejected in rewards for c in chosen for _ in rejected]),
        rejected=np.array([r for chosen, rejected in rewards for _ in chosen for r in rejected]),
    )


def record_accuracies(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Accuracy of each record (definition 1): share of its pairs with r(chosen) > r(rejected).

    A tie counts one half. Shape (records,), values in [0, 1]; their mean is the accuracy.
    """
    pairs = _pairs(rewards)
    return pairs.mean_by_record(0.5 + 0.5 * np.sign(_order(pairs)))


def count_ties(rewards: Sequence[RecordRewards]) -> int:
    """Number of chosen x rejected pairs with equal rewards."""
    return int(np.sum(_order(_pairs(rewards)) == 0))


def _order(pairs: _Pairs) -> FloatArray:
    # A comparison, not a difference: that of two huge rewards would overflow.
    return np.where(pairs.chosen > pairs.rejected, 1.0, -1.0 * (pairs.chosen < pairs.rejected))


def margin_moments(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Per-record terms, shape (records, 4), whose means determine the margin.

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
    pairs = _pairs(rewards)
    gaps = np.abs(pairs.chosen / largest - pairs.rejected / largest)
    sums, squares = np.add.reduceat(flat, starts), np.add.reduceat(flat**2, starts)
    return np.stack([pairs.mean_by_record(gaps), sizes, sums, squares], axis=1)


def margin_from_moments(means: FloatArray) -> FloatArray:
    """Absolute normalised reward margin: mean |r(chosen) - r(rejected)| / s, shape (...).

    s is the population standard deviation of all rewards, chosen and rejected; where s = 0 all
    rewards are equal and the margin is 0.

    Args:
        means: Means over records of the columns of `margin_moments`, shape (..., 4).
    """
    gap, size, total, squares = np.moveaxis(means, -1, 0)
    deviation = np.sqrt(np.maximum(squares / size - (total / size) ** 2, 0.0))
    margin: FloatArray = np.divide(gap, deviation, out=np.zeros_like(gap), where=deviation > 0)
    return margin


def bootstrap_means(columns: FloatArray, seed: int, resamples: int = RESAMPLES) -> FloatArray:
    """Column means of resamples of the rows (records), drawn with replacement.

    Args:
        columns: Shape (records, columns); all columns of a resample share its records.
        seed: Seed of the generator; the same seed and number of records draw the same resamples.
        resamples: Number of resamples.

    Returns:
        Shape (resamples, columns).
    """
    generator = np.random.default_rng(seed)
    n = len(columns)
    means = np.empty((resamples, columns.shape[1]))
    for index in range(resamples):
        draws = np.bincount(generator.integers(n, size=n), minlength=n)
        means[index] = draws @ columns
    return means / n


def mean_interval(
    values: FloatArray, resampled: FloatArray, support: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """95 % interval of the mean of `values`, which lie in `support`.

    Percentile bootstrap, except where all n records have the same value v: resampling would then
    claim certainty. There the exact argument of Clopper and Pearson takes over: were a share p of
    all records different from v, n records would miss it with probability (1 - p)^n, so p can
    be as large as 1 - 0.025^(1/n), and those records could lie anywhere in `support`. With
    v = 1, 200 records give [0.982, 1], as Clopper-Pearson does.

    Args:
        values: One value a record, shape (records,).
        resampled: Their means in each resample, shape (resamples,).
        support: Smallest and largest value that a record can have.
    """
    value = float(values.mean())
    if np.ptp(values) > 0:
        return Interval(value, *_percentiles(resampled))
    unseen = 1 - TAIL ** (1 / len(values))
    seen = (1 - unseen) * value
    return Interval(value, seen + unseen * support[0], seen + unseen * support[1])


def _percentiles(resampled: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    return float(low), float(high)
