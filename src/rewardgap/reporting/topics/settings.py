"""Other settings than the experiment's own, such as learning rates and β."""

from collections.abc import Iterator, Mapping

import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.reporting.drawing import dots
from rewardgap.reporting.results import Results, Spread
from rewardgap.reporting.topic import Figure, Topic, once

BASE = "the experiment's own"
"""Stands for the variation of cells that do not vary."""


@once
def measure(results: Results) -> Mapping[str, Mapping[tuple[str, str], Spread]]:
    """Compute by category (or set) the mean of every (variation, kind); nothing if none varies."""
    if len(results.variations) < 2:
        return {}
    places = results.categories or {name: (name,) for name in results.sets}
    return {
        place: {
            (variation or BASE, kind): spread
            for variation in results.variations
            for kind in results.kinds
            if (spread := results.spread("accuracy", names, kind, variation))
        }
        for place, names in places.items()
    }


def spread_marks(spreads: Mapping[tuple[str, str], Spread]) -> pd.DataFrame:
    """Return marks by (line, series): the mean ± the deviation over seeds."""
    return pd.DataFrame(
        [
            (line, series, spread.mean, spread.mean - deviation, spread.mean + deviation)
            for (line, series), spread in spreads.items()
            for deviation in [spread.deviation or 0.0]
        ],
        columns=["line", "series", "value", "low", "high"],
    )


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracy by variation, for every category."""
    yield Figure(
        "Other settings",
        "Accuracy by what differs from the experiment's own settings; mean over models, ± the "
        "standard deviation over seeds.",
        {
            place: dots(spread_marks(spreads), "accuracy", CHANCE)
            for place, spreads in measure(results).items()
            if spreads
        },
    )


TOPIC = Topic("settings", measure, figures=figures)
