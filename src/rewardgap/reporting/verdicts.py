"""When the report calls a difference one, and which models it calls alike."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from rewardgap.evaluation.comparisons import (
    SIGNIFICANCE,
    Comparison,
    benjamini_hochberg,
    holm,
    indistinguishable,
)

Pair = tuple[str, str]
Place = TypeVar("Place", bound=Hashable)
"""What is compared, such as a set and two kinds."""


def separated(comparison: Comparison) -> bool:
    """Whether a difference is one: of these runs by Holm's test, and of others by its interval.

    The test takes the runs as they are; the interval is wider where runs differ among themselves.
    """
    difference = comparison.difference
    return comparison.holm_p < SIGNIFICANCE and not difference.low <= 0 <= difference.high


def adjusted(family: Mapping[Place, Comparison]) -> dict[Place, Comparison]:
    """Comparisons of one sort with p-values adjusted for all of them."""
    p_values = [each.permutation_p for each in family.values()]
    corrected = zip(holm(p_values), benjamini_hochberg(p_values), strict=True)
    return {
        place: replace(each, holm_p=holm_p, bh_p=bh_p)
        for (place, each), (holm_p, bh_p) in zip(family.items(), corrected, strict=True)
    }


def groups(names: Sequence[str], comparisons: Mapping[Pair, Comparison]) -> list[tuple[str, ...]]:
    """The largest groups of which no two are separated, see `indistinguishable`."""
    alike = {
        pair: each if separated(each) else replace(each, holm_p=1.0)
        for pair, each in comparisons.items()
    }
    return indistinguishable(names, alike)
