"""Where style helps and where it misleads, on sets of style grids as in RM-Bench."""

from collections.abc import Iterator, Mapping

from rewardgap.evaluation.styles import StyleAccuracies, is_style_grid, style_accuracies
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import TextTable, Topic, interval, once


@once
def measure(results: Results) -> Mapping[str, Mapping[str, StyleAccuracies]]:
    """Compute by set of style grids and kind easy, normal and hard accuracy."""
    by_set = {name: results.runs(name) for name in results.sets}
    return {
        name: {kind: style_accuracies(*runs.values()) for kind, runs in kinds.items()}
        for name, kinds in by_set.items()
        if all(is_style_grid(rows) for runs in kinds.values() for rows in runs.values())
    }


def tables(results: Results) -> Iterator[TextTable]:
    """Return easy, normal and hard accuracy."""
    yield TextTable(
        "Where style helps and where it misleads",
        "Of sets with as many chosen as rejected responses, both from the plainest style to the "
        "most elaborate as in RM-Bench: accuracy where the rejected one is in a plainer style, "
        "in the same one, and in a more elaborate one. Means over all runs of a kind with 95 % "
        "intervals over records and runs.",
        ["set", "kind", "easy", "normal", "hard"],
        [
            [name, kind, *map(interval, (styles.easy, styles.normal, styles.hard))]
            for name, kinds in measure(results).items()
            for kind, styles in kinds.items()
        ],
        2,
    )


TOPIC = Topic("styles", measure, tables=tables)
