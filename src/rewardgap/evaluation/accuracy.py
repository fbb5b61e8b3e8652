"""Accuracy and normalised reward margin of score rows, with intervals and content-blind baselines.

Every value is a mean over records (a ratio of such means for the margin); a record of several
responses counts once, as the mean over its chosen x rejected pairs. Intervals are 95 % bootstrap
intervals over records; those of one prompt are resampled together. Rows may come in any order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import (
    Clusters,
    interval_of_draws,
    mean_interval,
    over_seeds,
    studentised_draws,
)
from rewardgap.evaluation.bootstrap import Interval as Interval  # the type of what is computed here
from rewardgap.evaluation.scores import RecordRewards, ScoreRow

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """What is reported about one score file, or about those of models that differ by their seed.

    Attributes:
        n: Number of records.
        ties: Number of chosen x rejected pairs with equal rewards, in all files together.
        accuracy: See `record_accuracies`.
        margin: Absolute normalised reward margin, see `margin_from_moments`.
        baselines: Accuracy of every content-blind rule on the same records.
        where_longer_fails: Accuracy on the records on which the longer-wins rule is right less than
            half of the time; None where there are none, or lengths are unknown.
    """

    n: int
    ties: int
    accuracy: Interval
    margin: Interval
    baselines: Mapping[str, Interval]
    where_longer_fails: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """The nested dictionary that `rewardgap metrics --json` prints, without what is None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def summarise(rows: Sequence[ScoreRow], seed: int = 0) -> Summary:
    """Accuracy, margin, ties and baselines of one score file, with 95 % bootstrap intervals.

    A baseline is reported only where every row has it: over part of the records its accuracy
    could not be compared with the model's.

    Args:
        rows: Of one score file.
        seed: Of the resamples.

    Raises:
        UserError: If there are no rows.
    """
    return summarise_seeds([rows], seed)


def summarise_seeds(runs: Sequence[Sequence[ScoreRow]], seed: int = 0) -> Summary:
    """Summarise the scores that models of several training seeds give to the same records.

    Values are means over the seeds; intervals are over records and seeds, see `over_seeds`.

    Args:
        runs: The rows of each seed's score file.
        seed: Of the resamples.

    Raises:
        UserError: If there are no rows, or the files have different ids.
    """
    files = [sorted(rows, key=lambda row: row.id) for rows in runs]
    if not files or not files[0]:
        raise UserError("there are no score rows to summarise")
    ids = [row.id for row in files[0]]
    if any([row.id for row in rows] != ids for rows in files):
        raise UserError("score files of several seeds must have the same ids: score the same data")
    clusters = prompt_clusters(files[0])
    scores = [[row.scores for row in rows] for rows in files]
    rules = [baseline_rewards(rows) for rows in files]
    accuracies = _accuracies(scores)
    baselines = {
        name: _accuracies([each[name] for each in rules])
        for name in rules[0]
        if all(name in each for each in rules)
    }
    return Summary(
        n=len(ids),
        ties=sum(map(count_ties, scores)),
        accuracy=mean_interval(accuracies, clusters, seed),
        margin=_margin(scores, clusters, seed),
        baselines={
            name: mean_interval(values, clusters, seed) for name, values in baselines.items()
        },
        where_longer_fails=_where_longer_fails(accuracies, baselines.get("longer"), clusters, seed),
    )


def _accuracies(runs: Sequence[Sequence[RecordRewards]]) -> FloatArray:
    """Accuracy of each record by each run, shape (records, runs)."""
    return np.stack([record_accuracies(rewards) for rewards in runs], axis=1)


def _where_longer_fails(
    accuracies: FloatArray, longer: FloatArray | None, clusters: Clusters, seed: int
) -> Interval | None:
    fails = np.zeros(len(accuracies), bool) if longer is None else longer.mean(axis=1) < 0.5
    if not fails.any():
        return None
    without_gaps = np.unique(clusters[fails], return_inverse=True)[1]
    return mean_interval(accuracies[fails], without_gaps, seed)


def _margin(runs: Sequence[Sequence[RecordRewards]], clusters: Clusters, seed: int) -> Interval:
    """The mean over runs of the margin."""
    moments = [margin_moments(rewards) for rewards in runs]
    values = np.array([margin_from_moments(each.mean(axis=0)) for each in moments])
    draws = [studentised_draws(each, clusters, margin_and_gradient, seed) for each in moments]
    return interval_of_draws(
        float(values.mean()), over_seeds(values, np.stack(draws, axis=1), seed)
    )


def prompt_clusters(rows: Sequence[ScoreRow]) -> Clusters:
    """Number the prompts of the rows, from 0; a row without `prompt` has one of its own."""
    numbers: dict[tuple[str, str], int] = {}
    names = [(row.prompt, "" if row.prompt else row.id) for row in rows]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def baseline_rewards(rows: Sequence[ScoreRow]) -> dict[str, list[RecordRewards]]:
    """Rewards of the content-blind rules that every row has.

    `longer` rewards a response by its tokens, `shorter` by their negative; then the rules
    stored in the rows themselves, and `constant`, for which all responses are equal.
    """
    rules: dict[str, list[RecordRewards]] = {}
    if all(row.tokens_chosen for row in rows):
        rules["longer"] = [_lengths(row, sign=1) for row in rows]
        rules["shorter"] = [_lengths(row, sign=-1) for row in rows]
    stored = [name for name in rows[0].baselines if all(name in row.baselines for row in rows)]
    rules |= {name: [row.baselines[name] for row in rows] for name in stored}
    return rules | {"constant": [_equal(row) for row in rows]}


def _lengths(row: ScoreRow, sign: int) -> RecordRewards:
    return (
        tuple(float(sign * tokens) for tokens in row.tokens_chosen),
        tuple(float(sign * tokens) for tokens in row.tokens_rejected),
    )


def _equal(row: ScoreRow) -> RecordRewards:
    return (0.0,) * len(row.scores_chosen), (0.0,) * len(row.scores_rejected)


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
    return margin_and_gradient(means)[0]


def margin_and_gradient(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The margin of `margin_from_moments`, shape (...), and its gradient by the means, (..., 4)."""
    gap, size, total, squares = np.moveaxis(means, -1, 0)
    center = total / size
    variance = np.maximum(squares / size - center**2, 0.0)
    inverse = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0)
    margin: FloatArray = gap * inverse
    by_squares = -margin * inverse**2 / (2 * size)
    by_size = by_squares * (center**2 - variance)
    return margin, np.stack([inverse, by_size, -2 * center * by_squares, by_squares], axis=-1)
