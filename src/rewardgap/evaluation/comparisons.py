"""Paired comparisons of score files that rate the same records."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import Interval, prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import (
    MOST_CLUSTERS,
    Clusters,
    FloatArray,
    cluster_totals,
    join_clusters,
    mean_interval,
)
from rewardgap.evaluation.scores import ScoreRow

logger = logging.getLogger(__name__)

Counts = NDArray[np.intp]

SIGNIFICANCE = 0.05
"""Adjusted p-values below it separate two files."""
FLIPS = 9999
"""Random sign flips of a permutation test whose outcomes are too many to go through."""
MOST_OUTCOMES = 100_000
ROUNDING = 1e-9
"""Accuracies differ by more than this, or they are equal."""


@dataclass(frozen=True)
class Comparison:
    """Accuracy of one score file against another on the same records.

    Attributes:
        n: Number of records.
        wins: Number of records on which the first file is more accurate.
        losses: Number of records on which the second is.
        difference: First accuracy minus second, with a 95 % interval over records.
        mcnemar_p: Two-sided p-value of McNemar's exact test.
        permutation_p: Two-sided p-value of the paired permutation test, see `sign_flip_test`.
        holm_p: `mcnemar_p` (of `compare_gains`: `permutation_p`) adjusted for all the comparisons
            made together, see `holm`.
        bh_p: The same adjusted likewise, see `benjamini_hochberg`.
    """

    n: int
    wins: int
    losses: int
    difference: Interval
    mcnemar_p: float
    permutation_p: float
    holm_p: float
    bh_p: float

    def reversed(self) -> "Comparison":
        """The same comparison seen from the second file."""
        return replace(self, wins=self.losses, losses=self.wins, difference=-self.difference)

    def to_json(self) -> dict[str, Any]:
        """The part that `rewardgap metrics --json` prints."""
        figures = asdict(self)
        return {key: figures[key] for key in figures if key not in ("n", "wins", "losses")}


def compare(
    first: Sequence[ScoreRow],
    second: Sequence[ScoreRow],
    names: tuple[str, str] = ("the first scores", "the second scores"),
    seed: int = 0,
) -> Comparison:
    """Paired difference in accuracy between two sets of scores of the same records, in any order.

    McNemar's test counts the records on which one is more accurate than the other: for pairs
    without ties these are the discordant ones. A tie (one half) is more accurate than wrong
    and less than right, a record of several responses is compared by its mean accuracy, and
    records of equal accuracy do not count, so that in general this is the exact sign test.
    Records of one prompt are not independent: interval and tests take them together, as one.

    Args:
        first: Rows of one score file.
        second: Rows of the other.
        names: How errors name the two.
        seed: Of the resamples.

    Raises:
        UserError: If the records differ, by id or by their texts; names the two files and how many
            records only one of them has.
    """
    if mismatch := count_unshared(first, second):
        raise UserError(
            f"{names[0]} and {names[1]} cannot be compared: {mismatch} records are in only one of "
            "them; score both models on the same data"
        )
    first, second = (sorted(rows, key=lambda row: row.id) for rows in (first, second))
    gains = record_accuracies([row.scores for row in first])
    gains = gains - record_accuracies([row.scores for row in second])
    found = compare_gains(gains, prompt_clusters(first), seed)
    return replace(found, holm_p=found.mcnemar_p, bh_p=found.mcnemar_p)


def compare_gains(gains: FloatArray, clusters: Clusters, seed: int = 0) -> Comparison:
    """The comparison whose difference is the mean of `gains`, with p-values not yet adjusted.

    `holm_p` and `bh_p` are of the permutation test: over several runs records differ in how much
    is gained on them, which the signs that McNemar's test counts do not say.

    Args:
        gains: By how much a record is ranked better by the first than by the second, in [-1, 1];
            shape (records,), or (records, runs): tests are of each record's mean over runs, the
            interval is over records and runs.
        clusters: The prompt of each record, shape (records,).
        seed: Of the resamples.
    """
    by_record = gains.reshape(len(gains), -1).mean(axis=1)
    by_prompt = cluster_totals(by_record[:, None], clusters)[:, 0]
    p_value = sign_flip_test(by_prompt, seed)
    wins, losses = _count_signs(by_record)
    return Comparison(
        n=len(gains),
        wins=wins,
        losses=losses,
        difference=mean_interval(gains, clusters, seed, support=(-1.0, 1.0)),
        mcnemar_p=mcnemar(*_count_signs(by_prompt)),
        permutation_p=p_value,
        holm_p=p_value,
        bh_p=p_value,
    )


def _count_signs(gains: FloatArray) -> tuple[int, int]:
    return int(np.sum(gains > ROUNDING)), int(np.sum(gains < -ROUNDING))


def count_unshared(first: Sequence[ScoreRow], second: Sequence[ScoreRow]) -> int:
    """Number of records that only one of the two sets of scores has.

    A record is known by its id and, where both sets tell them, by its prompt and its responses:
    files whose ids are line numbers have the same ids, whatever the data.
    """
    ours, theirs = ({row.id: row for row in rows} for rows in (first, second))
    other = [name for name in ours.keys() & theirs.keys() if _differ(ours[name], theirs[name])]
    return len(ours.keys() ^ theirs.keys()) + 2 * len(other)


def _differ(row: ScoreRow, other: ScoreRow) -> bool:
    """Whether two rows of one id are known to rate other texts."""
    told = ((row.prompt, other.prompt), (row.responses, other.responses))
    return any(ours and theirs and ours != theirs for ours, theirs in told)


def compare_all(
    files: Mapping[str, Sequence[ScoreRow]], seed: int = 0
) -> dict[tuple[str, str], Comparison]:
    """Compare every two files of the same records, and adjust the p-values for all comparisons.

    Files of other records (another evaluation set) are not compared, with a warning where they
    share some, and where a file shares none with any; fewer than two files give nothing.
    """
    comparisons: dict[tuple[str, str], Comparison] = {}
    alone = set(files)
    for a, b in combinations(files, 2):
        unshared = count_unshared(files[a], files[b])
        if not unshared:
            comparisons[a, b] = compare(files[a], files[b], (a, b), seed)
            alone -= {a, b}
        elif unshared < len(files[a]) + len(files[b]):
            logger.warning("%s and %s are not compared: %d records are in only one", a, b, unshared)
            alone -= {a, b}
    if alone and len(files) > 1:
        names = ", ".join(sorted(alone))
        logger.warning("not compared with any other, for they rate different records: %s", names)
    p_values = [comparison.mcnemar_p for comparison in comparisons.values()]
    adjusted = zip(holm(p_values), benjamini_hochberg(p_values), strict=True)
    return {
        names: replace(comparison, holm_p=holm_p, bh_p=bh_p)
        for (names, comparison), (holm_p, bh_p) in zip(comparisons.items(), adjusted, strict=True)
    }


def indistinguishable(
    names: Sequence[str], comparisons: Mapping[tuple[str, str], Comparison]
) -> list[tuple[str, ...]]:
    """Maximal groups of files no two of which are separated by McNemar's test after Holm.

    "Not separated" is not transitive, so groups overlap: they are the maximal cliques of its graph.
    Runs of the files sorted by accuracy would not do, as paired tests do not follow that order.
    Files that were not compared do not share a group; one that is unlike all others is alone.

    Args:
        names: The files; groups and their members keep this order.
        comparisons: See `compare_all`.
    """
    alike: dict[str, set[str]] = {name: set() for name in names}
    for (a, b), comparison in comparisons.items():
        if comparison.holm_p >= SIGNIFICANCE and a in alike and b in alike:
            alike[a].add(b)
            alike[b].add(a)
    groups = (sorted(group, key=names.index) for group in _cliques(set(), set(names), set(), alike))
    return sorted(map(tuple, groups), key=lambda group: [names.index(name) for name in group])


def _cliques(
    clique: AbstractSet[str],
    candidates: AbstractSet[str],
    done: AbstractSet[str],
    neighbours: Mapping[str, AbstractSet[str]],
) -> Iterator[AbstractSet[str]]:
    """Maximal cliques by the algorithm of Bron and Kerbosch, with a pivot."""
    if not candidates and not done:
        yield clique
        return
    pivot = max(candidates | done, key=lambda name: len(candidates & neighbours[name]), default="")
    for name in sorted(candidates - neighbours[pivot]):
        near = neighbours[name]
        yield from _cliques(clique | {name}, candidates & near, done & near, neighbours)
        candidates, done = candidates - {name}, done | {name}


# SciPy's tests take a second to import, which a single file need not pay.


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of McNemar's exact test; 1 where no record is discordant."""
    from scipy.stats import binomtest

    discordant = wins + losses
    return float(binomtest(wins, discordant).pvalue) if discordant else 1.0


def sign_flip_test(gains: FloatArray, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test of the sum of `gains`.

    Were both models alike, the gain of every prompt could as well have the other sign; p is the
    probability that random signs make the sum as far from zero as it is. It is exact where gains
    take few different sizes, as those of pairs do, and otherwise estimated from `FLIPS` draws,
    the observed signs among them, so that it is never 0.

    Args:
        gains: Of independent units, such as prompts, shape (units,).
        seed: Of the draws.
    """
    sizes = np.abs(gains)[np.abs(gains) > ROUNDING]
    _, kinds, counts = np.unique(sizes.round(9), return_index=True, return_counts=True)
    if len(kinds) > MOST_CLUSTERS:
        return sign_flip_test(join_clusters(gains[:, None], seed)[:, 0], seed)
    least = abs(float(gains.sum())) - ROUNDING
    if np.log1p(counts).sum() > np.log(MOST_OUTCOMES):
        sums = _drawn_sums(sizes[kinds], counts, seed)
        return float(1 + np.sum(np.abs(sums) >= least)) / (1 + FLIPS)
    sums, chances = _all_sums(sizes[kinds], counts)
    return min(float(chances[np.abs(sums) >= least].sum()), 1.0)


def _all_sums(sizes: FloatArray, counts: Counts) -> tuple[FloatArray, FloatArray]:
    """Every sum that `counts` gains of each size can make, with its probability."""
    from scipy.stats import binom

    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        ups = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * ups - count)).ravel()
        chances = np.multiply.outer(chances, binom.pmf(ups, count, 0.5)).ravel()
    return sums, chances


def _drawn_sums(sizes: FloatArray, counts: Counts, seed: int) -> FloatArray:
    generator = np.random.default_rng(seed)
    sums = np.zeros(FLIPS)
    for size, count in zip(sizes, counts, strict=True):
        sums += size * (2 * generator.binomial(count, 0.5, FLIPS) - count)
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method, in the given order.

    Below 0.05 they hold together: the chance of a single false claim among them is at most 0.05.
    """
    # statsmodels has it, but collects all garbage at every call, half a second in a report.
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by the step-up method of Benjamini and Hochberg, in the given order.

    Of those below 0.05, a share of at most 0.05 is expected to be false claims.
    """
    from scipy.stats import false_discovery_control

    return [float(p_value) for p_value in false_discovery_control(p_values)] if p_values else []
