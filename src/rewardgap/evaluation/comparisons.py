"""Paired comparisons of score files that rate the same records."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeVar

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import (
    MOST_CLUSTERS,
    Clusters,
    FloatArray,
    Interval,
    cluster_totals,
    join_clusters,
    mean_interval,
)
from rewardgap.evaluation.scores import ScoreRow

logger = logging.getLogger(__name__)

Pair = tuple[str, str]
"""The names of what is compared."""
Place = TypeVar("Place", bound=Hashable)
"""What tells comparisons of a family apart, such as a set and two kinds."""

SIGNIFICANCE = 0.05
"""A difference is significant if its adjusted p-value is below this."""
FLIPS = 9999
"""Random sign flips of a permutation test with more than `MOST_OUTCOMES` possible sums."""
MOST_OUTCOMES = 100_000
ROUNDING = 1e-9
"""Accuracies that differ by at most this are equal."""


@dataclass(frozen=True)
class Comparison:
    """Accuracy of one score file against another on the same records.

    Attributes:
        n: Number of records.
        wins: Number of those on which the first file is more accurate.
        losses: Number of those on which the second is.
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
        """Return the comparison of the second file with the first."""
        return replace(self, wins=self.losses, losses=self.wins, difference=-self.difference)

    def to_json(self) -> dict[str, Any]:
        """Return the part that `rewardgap metrics --json` prints."""
        figures = asdict(self)
        return {key: figures[key] for key in figures if key not in ("n", "wins", "losses")}


def compare(
    first: Sequence[ScoreRow],
    second: Sequence[ScoreRow],
    names: tuple[str, str] = ("the first scores", "the second scores"),
    seed: int = 0,
) -> Comparison:
    """Return the paired difference in accuracy between two sets of scores of the same records.

    Rows may come in any order. Records of one prompt are not independent: interval and tests take
    them together, as one.

    McNemar's test counts the records on which one is more accurate than the other: for pairs
    without ties these are the discordant ones. A tie (one half) is more accurate than wrong and
    less than right, a record of several responses is compared by its mean accuracy, and records of
    equal accuracy do not count, so that in general this is the exact sign test.

    Args:
        first: Rows of one score file.
        second: Rows of the other.
        names: How errors name the two.
        seed: Of the resamples.

    Raises:
        UserError: The records differ, by id or by their texts.
    """
    if mismatch := count_unshared(first, second):
        raise UserError(
            f"{names[0]} and {names[1]} cannot be compared: {mismatch} records are in only one of "
            "them; score both models on the same data"
        )
    first, second = (sorted(rows, key=lambda row: row.id) for rows in (first, second))
    gains = record_accuracies([row.scores for row in first])
    gains = gains - record_accuracies([row.scores for row in second])
    comparison = compare_gains(gains, prompt_clusters(first), seed)
    return replace(comparison, holm_p=comparison.mcnemar_p, bh_p=comparison.mcnemar_p)


def compare_gains(gains: FloatArray, clusters: Clusters, seed: int = 0) -> Comparison:
    """Return the comparison whose difference is the mean of `gains`, with p-values not adjusted.

    `holm_p` and `bh_p` are those of the permutation test: over several runs records differ in how
    much is gained on them, and McNemar's test counts signs only.

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
    """Return the number of records that only one of the two sets of scores has.

    Records are the same if their ids are and, where both sets have them, the hashes of their
    prompts and responses: ids that are line numbers are equal whatever the data.
    """
    rows, counterparts = ({row.id: row for row in file} for file in (first, second))
    shared = rows.keys() & counterparts.keys()
    differing = [name for name in shared if _differ(rows[name], counterparts[name])]
    return len(rows.keys() ^ counterparts.keys()) + 2 * len(differing)


def _differ(first: ScoreRow, second: ScoreRow) -> bool:
    """Return whether two rows of one id are known to rate different texts."""
    hashes = ((first.prompt, second.prompt), (first.responses, second.responses))
    return any(left and right and left != right for left, right in hashes)


def compare_all(
    files: Mapping[str, Sequence[ScoreRow]], seed: int = 0
) -> dict[tuple[str, str], Comparison]:
    """Compare every two files of the same records, and adjust the p-values for all comparisons.

    Files of different records (of two evaluation sets) are not compared, with a warning where they
    share a part of the records, and where a file shares none with any.
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
    return adjust(comparisons, "mcnemar_p")


def adjust(
    family: Mapping[Place, Comparison],
    test: Literal["mcnemar_p", "permutation_p"] = "permutation_p",
) -> dict[Place, Comparison]:
    """Return comparisons with the p-values of a test adjusted for all of them."""
    p_values = [getattr(comparison, test) for comparison in family.values()]
    adjusted = zip(holm(p_values), benjamini_hochberg(p_values), strict=True)
    return {
        place: replace(comparison, holm_p=holm_p, bh_p=bh_p)
        for (place, comparison), (holm_p, bh_p) in zip(family.items(), adjusted, strict=True)
    }


def adjust_by_place(
    families: Mapping[Place, Mapping[Pair, Comparison]],
) -> dict[Place, dict[Pair, Comparison]]:
    """Return comparisons of several places with p-values adjusted for all of them together."""
    family = {
        (place, pair): comparison
        for place, comparisons in families.items()
        for pair, comparison in comparisons.items()
    }
    adjusted: dict[Place, dict[Pair, Comparison]] = {place: {} for place in families}
    for (place, pair), comparison in adjust(family).items():
        adjusted[place][pair] = comparison
    return adjusted


def is_significant(comparison: Comparison) -> bool:
    """Return whether the test after Holm's correction establishes a difference of these files."""
    return comparison.holm_p < SIGNIFICANCE


def is_difference(comparison: Comparison) -> bool:
    """Return whether a difference is significant and its interval excludes zero.

    The test takes the runs as they are; the interval, over records and runs, is wider where runs
    differ among themselves, so that both together speak of further runs too.
    """
    difference = comparison.difference
    return is_significant(comparison) and not difference.low <= 0 <= difference.high


def indistinguishable(
    names: Sequence[str],
    comparisons: Mapping[Pair, Comparison],
    separates: Callable[[Comparison], bool] = is_significant,
) -> list[tuple[str, ...]]:
    """Return the maximal groups of names of which no two are separated.

    "Not separated" is not transitive, so groups overlap: they are the maximal cliques of its graph.
    Groups of neighbours in the order of accuracy would not do, as paired tests do not follow that
    order. Names that were not compared do not share a group.

    Args:
        names: What was compared; groups and their members keep this order.
        comparisons: The comparison of every two, such as those of `compare_all`.
        separates: Whether a comparison separates two, `is_significant` or `is_difference`.
    """
    import networkx

    alike = networkx.Graph()
    alike.add_nodes_from(names)
    alike.add_edges_from(
        pair
        for pair, comparison in comparisons.items()
        if not separates(comparison) and set(pair) <= set(names)
    )
    groups = (tuple(sorted(group, key=names.index)) for group in networkx.find_cliques(alike))
    return sorted(groups, key=lambda group: [names.index(name) for name in group])


# SciPy's tests take a second to import, which the summary of one file does not need.


def mcnemar(wins: int, losses: int) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 where no record is discordant."""
    from scipy.stats import binomtest

    discordant = wins + losses
    return float(binomtest(wins, discordant).pvalue) if discordant else 1.0


def sign_flip_test(gains: FloatArray, seed: int = 0) -> float:
    """Return the two-sided p-value of the paired permutation test of the sum of `gains`.

    If both models were alike, the gain of every prompt would have either sign with equal
    probability; p is the probability that random signs make the sum as far from zero as it is. It
    is exact where gains take few different sizes, as those of pairs do, and otherwise estimated
    from `FLIPS` draws and the observed signs, so that it is never 0.

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
        sums, generator = np.zeros(FLIPS), np.random.default_rng(seed)
        for size, count in zip(sizes[kinds], counts, strict=True):
            sums += size * (2 * generator.binomial(count, 0.5, FLIPS) - count)
        return float(1 + np.sum(np.abs(sums) >= least)) / (1 + FLIPS)
    sums, chances = _all_sums(sizes[kinds], counts)
    return min(float(chances[np.abs(sums) >= least].sum()), 1.0)


def _all_sums(sizes: FloatArray, counts: Clusters) -> tuple[FloatArray, FloatArray]:
    """Return every sum that `counts` gains of each size can make, and its probability."""
    from scipy.stats import binom

    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        ups = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * ups - count)).ravel()
        chances = np.multiply.outer(chances, binom.pmf(ups, count, 0.5)).ravel()
    return sums, chances


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the given order.

    The probability that any claim with an adjusted p-value below 0.05 is false is at most 0.05.
    """
    # statsmodels has it, but collects all garbage at every call, half a second in a report.
    order = np.argsort(p_values)
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by the step-up method of Benjamini and Hochberg, in the given order.

    Of the claims with an adjusted p-value below 0.05, at most 5 % are expected to be false.
    """
    from scipy.stats import false_discovery_control

    return [float(p_value) for p_value in false_discovery_control(p_values)] if p_values else []
