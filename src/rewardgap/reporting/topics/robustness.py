"""What a shift such as a rewording costs, each record against its counterpart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import adjust, is_difference
from rewardgap.evaluation.robustness import Drop, drop
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.drawing import dots
from rewardgap.reporting.results import Results, by_kind
from rewardgap.reporting.topic import (
    HOLM,
    P_VALUES,
    Figure,
    Finding,
    TextTable,
    Topic,
    interval,
    once,
    tested,
)


@dataclass(frozen=True)
class Robustness:
    """What shifts cost.

    Attributes:
        drops: By perturbed set and kind what the shift costs.
        not_shifts: By set that is planned as a shift and is none, why.
    """

    drops: Mapping[str, Mapping[str, Drop]]
    not_shifts: Mapping[str, str]


@once
def measure(results: Results) -> Robustness:
    """Compare every perturbed set with its originals, over the runs measured on both."""
    drops: dict[str, dict[str, Drop]] = {}
    not_shifts: dict[str, str] = {}
    for entry in results.experiment.sets:
        if entry.name in results.sets and entry.shift_of in results.sets:
            try:
                drops[entry.name] = _drops(results, entry.shift_of, entry.name)
            except UserError as error:
                not_shifts[entry.name] = str(error)
    family = adjust(
        {(name, kind): drop.loss for name, kinds in drops.items() for kind, drop in kinds.items()}
    )
    corrected = {
        name: {kind: replace(drop, loss=family[name, kind]) for kind, drop in kinds.items()}
        for name, kinds in drops.items()
    }
    return Robustness(corrected, not_shifts)


def _drops(results: Results, original: str, perturbed: str) -> dict[str, Drop]:
    before, after = results.rows[original], results.rows[perturbed]
    cells = [cell for cell in results.main_cells(perturbed) if cell in before]
    return {
        kind: drop([(before[cell], after[cell]) for cell in group], (original, perturbed))
        for kind, group in by_kind(cells).items()
    }


def sentences(results: Results) -> Iterator[Finding]:
    """Return what shifts cost or gain, where a test separates the two sets, and where none does."""
    measured = measure(results)
    for name, drops in measured.drops.items():
        changed = {kind: drop for kind, drop in drops.items() if is_difference(drop.loss)}
        kept = [kind for kind in drops if kind not in changed]
        if changed:
            parts = [
                f"{kind} models {_loss(drop.loss.difference)} and turn "
                f"{drop.flip_rate.value:.0%} of their verdicts"
                for kind, drop in changed.items()
            ]
            rest = (
                f"{join_names(kept)} models lose nothing that could be told from 0" if kept else ""
            )
            text = "; ".join([join_names(parts), rest] if rest else [join_names(parts)])
            yield Finding("difference", f"Reworded as {name}, {text}.")
        elif drops:
            text = f"Reworded as {name}, no kind loses accuracy that could be told from 0."
            yield Finding("alike", text)
    for name, reason in measured.not_shifts.items():
        yield Finding("caution", f"What rewording as {name} costs is not known: {reason}.")


def _loss(drop: Interval) -> str:
    if drop.value > 0:
        return f"lose {interval(drop)} of their accuracy"
    return f"gain {interval(-drop)} in accuracy"


def tables(results: Results) -> Iterator[TextTable]:
    """Return accuracy lost and share of verdicts that turn."""
    rows = [
        [name, kind, str(drop.loss.n), lost, interval(drop.flip_rate), *p_values]
        for name, drops in measure(results).drops.items()
        for kind, drop in drops.items()
        for lost, *p_values in [tested(drop.loss)]
    ]
    yield TextTable(
        "From a set to its rewording",
        "Accuracy lost and share of verdicts that turn, paired by record, over all runs of a kind; "
        f"95 % intervals over records and runs. {HOLM.format(count=len(rows))}",
        ["reworded set", "kind", "records", "accuracy lost", "verdicts that turn", *P_VALUES],
        rows,
        2,
    )


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracy lost, and verdicts turned."""
    drops = [
        (name, kind, drop)
        for name, kinds in measure(results).drops.items()
        for kind, drop in kinds.items()
    ]
    ends = {
        "accuracy lost": [(name, kind, drop.loss.difference) for name, kind, drop in drops],
        "share of verdicts that turn": [(name, kind, drop.flip_rate) for name, kind, drop in drops],
    }
    yield Figure(
        "What rewording costs",
        "From a set to the same records reworded, paired record by record: the accuracy that is "
        "lost, and the share of pairs whose verdict turns, which may cost nothing on balance. "
        "Intervals are over records and runs.",
        {
            label: dots(
                pd.DataFrame(
                    [(name, kind, x.value, x.low, x.high) for name, kind, x in marks],
                    columns=["line", "series", "value", "low", "high"],
                ),
                label,
                0.0,
            )
            for label, marks in ends.items()
            if marks
        },
    )


TOPIC = Topic("robustness", measure, sentences=sentences, tables=tables, figures=figures)
