"""When the report calls a difference significant, and which models it calls alike."""

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
    """Return whether Holm's test finds a difference and its interval leaves out 0.

    The test takes the runs as they are; the interval is wider where runs differ among themselves.
    """
    difference = comparison.difference
    return comparison.holm_p < SIGNIFICANCE and not difference.low <= 0 <= difference.high


def adjusted(family: Mapping[Place, Comparison]) -> dict[Place, Comparison]:
    """Return comparisons of one sort with p-values adjusted for all of them."""
    p_values = [comparison.permutation_p for comparison in family.values()]
    corrected = zip(holm(p_values), benjamini_hochberg(p_values), strict=True)
    return {
        place: replace(comparison, holm_p=holm_p, bh_p=bh_p)
        for (place, comparison), (holm_p, bh_p) in zip(family.items(), corrected, strict=True)
    }


def adjusted_by_place(
    families: Mapping[Place, Mapping[Pair, Comparison]],
) -> dict[Place, dict[Pair, Comparison]]:
    """Return comparisons of all places with p-values adjusted for all of them together."""
    family = adjusted(
        {
            (place, pair): comparison
            for place, comparisons in families.items()
            for pair, comparison in comparisons.items()
        }
    )
    return {
        place: {pair: family[place, pair] for pair in comparisons}
        for place, comparisons in families.items()
    }


def groups(names: Sequence[str], comparisons: Mapping[Pair, Comparison]) -> list[tuple[str, ...]]:
    """Return the largest groups of which no two are separated, see `indistinguishable`."""
    alike = {
        pair: comparison if separated(comparison) else replace(comparison, holm_p=1.0)
        for pair, comparison in comparisons.items()
    }
    return indistinguishable(names, alike)
