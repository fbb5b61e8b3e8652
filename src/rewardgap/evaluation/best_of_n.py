"""Best of n against n: what the response of the highest reward is worth, and over-optimisation.

The reward of the model is the proxy; the worth of a response is its gold score, such as the reward
of a larger model, or by default 1 for a chosen and 0 for a rejected response. Against the model
that wrote the responses, best of n has a Kullback–Leibler divergence of at most ln n − (n − 1)/n.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import prompt_clusters
from rewardgap.evaluation.bootstrap import Clusters, FloatArray, Interval, mean_interval
from rewardgap.evaluation.scores import Rewards, ScoreRow, read_scores
from rewardgap.evaluation.unlabelled import has_labels, read_rewards

ALL_SIZES = 8
"""Up to so many responses a curve has a point for every n, and beyond for powers of two."""


@dataclass(frozen=True)
class BestOfN:
    """Means over prompts with 95 % intervals over prompts, and over runs where there are several.

    Attributes:
        sizes: The values of n, from 1.
        gold: Mean gold score of the response of the highest reward among n.
        proxy: Mean reward of that response, in standard deviations of all rewards from their mean.
        fall: By how much the mean gold score of the largest n is below the highest of the curve.
    """

    sizes: tuple[int, ...]
    gold: tuple[Interval, ...]
    proxy: tuple[Interval, ...]
    fall: Interval

    @property
    def divergences(self) -> tuple[float, ...]:
        """The divergence of best of n from the model that wrote the responses, in nats."""
        return tuple(map(divergence, self.sizes))

    @property
    def peak(self) -> int:
        """The n of the highest mean gold score."""
        return self.sizes[int(np.argmax([figure.value for figure in self.gold]))]

    @property
    def is_over_optimised(self) -> bool:
        """Whether the fall from the peak is more than chance."""
        return self.fall.low > 0


def divergence(n: int) -> float:
    """Return ln n − (n − 1)/n."""
    return math.log(n) - (n - 1) / n


def expected_best(proxy: FloatArray, values: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """Return the mean value of the response of the highest proxy among n, for every n.

    It is the mean over all subsets of n of the N responses, in closed form: the i-th smallest
    proxy is the largest of C(i − 1, n − 1) of the C(N, n) subsets. Of equal proxies each is as
    likely to be taken.

    Args:
        proxy: Of every response, shape (N,).
        values: Shape (N,).
        sizes: Each at most N.
    """
    _, group, counts = np.unique(proxy, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=values) / counts
    ordered, total = means[np.sort(group)], len(proxy)
    shares = [[math.comb(i, n - 1) / math.comb(total, n) for i in range(total)] for n in sizes]
    return np.array(shares) @ ordered


def curve(
    runs: Sequence[Sequence[Rewards]],
    gold: Sequence[Rewards],
    clusters: Clusters | None = None,
    seed: int = 0,
) -> BestOfN:
    """Return the curve of best of n up to the number of responses that every prompt has.

    Args:
        runs: By run and prompt the rewards of the responses.
        gold: By prompt their gold scores.
        clusters: Of prompts that are resampled together; by default each by itself.
        seed: Of the resamples.

    Raises:
        UserError: A prompt has gold scores of another number of responses.
    """
    for run in runs:
        if [*map(len, run)] != [*map(len, gold)]:
            raise UserError("the gold scores are not of the same responses as the rewards")
    clusters = np.arange(len(gold)) if clusters is None else clusters
    sizes = sizes_up_to(min(map(len, gold)))
    worth = [np.array(values, float) for values in gold]
    by_gold, by_proxy = [], []
    for run in runs:
        flat = np.concatenate([np.array(rewards, float) for rewards in run])
        spread = float(flat.std()) or 1.0
        proxies = [(np.array(rewards, float) - flat.mean()) / spread for rewards in run]
        by_gold.append([expected_best(p, v, sizes) for p, v in zip(proxies, worth, strict=True)])
        by_proxy.append([expected_best(p, p, sizes) for p in proxies])
    golds, proxies_of_best = np.array(by_gold), np.array(by_proxy)  # (runs, prompts, sizes)
    peak = int(golds.mean(axis=(0, 1)).argmax())
    return BestOfN(
        sizes,
        _intervals(golds, clusters, seed),
        _intervals(proxies_of_best, clusters, seed),
        _intervals(golds[..., peak : peak + 1] - golds[..., -1:], clusters, seed)[0],
    )


def sizes_up_to(most: int) -> tuple[int, ...]:
    """Return the values of n that a curve shows."""
    if most <= ALL_SIZES:
        return tuple(range(1, most + 1))
    powers = [2**i for i in range(most.bit_length())]
    return tuple(sorted({*powers, most}))


def _intervals(values: FloatArray, clusters: Clusters, seed: int) -> tuple[Interval, ...]:
    """Return the mean of every size with its interval; values are (runs, prompts, sizes)."""
    ends = float(values.min()), float(values.max())
    return tuple(
        mean_interval(by_run.T, clusters, seed, support=ends)
        for by_run in np.moveaxis(values, -1, 0)
    )


def curve_of_rows(*runs: Sequence[ScoreRow], seed: int = 0) -> BestOfN:
    """Return the curve of score rows of the same records: with their gold scores, else by labels.

    Raises:
        UserError: There are none.
    """
    ordered = [sorted(rows, key=lambda row: row.id) for rows in runs]
    if not ordered or not ordered[0]:
        raise UserError("there are no score rows to take the best of")
    rewards = [[row.scores_chosen + row.scores_rejected for row in rows] for rows in ordered]
    return curve(rewards, [*map(_gold, ordered[0])], prompt_clusters(ordered[0]), seed)


def _gold(row: ScoreRow) -> Rewards:
    if row.gold:
        return row.gold[0] + row.gold[1]
    return (1.0,) * len(row.scores_chosen) + (0.0,) * len(row.scores_rejected)


def best_of_n(scores: str | Path, gold: str | Path | None = None, seed: int = 0) -> BestOfN:
    """Return the curve of best of n of a score file, labelled or not.

    Args:
        scores: The score file of the reward model.
        gold: A score file of the same data, whose rewards are gold scores; by default what the
            data had as gold scores, or else 1 for chosen and 0 for rejected responses.
        seed: Of the resamples.

    Raises:
        UserError: A file cannot be read, or the files are of other data.
    """
    if gold is None:
        if not has_labels(Path(scores)):
            raise UserError(f"{scores} has no labels: name a score file of gold scores")
        return curve_of_rows(read_scores(scores), seed=seed)
    proxies, golds = _read(Path(scores)), _read(Path(gold))
    if proxies.keys() != golds.keys():
        raise UserError(f"{gold} does not rate the records of {scores}: score the same data")
    return curve([[*proxies.values()]], [golds[key] for key in proxies], seed=seed)


def _read(path: Path) -> Mapping[str, Rewards]:
    """Return by id the rewards of all responses, chosen ones first."""
    if has_labels(path):
        return {row.id: row.scores_chosen + row.scores_rejected for row in read_scores(path)}
    return read_rewards(path)
