"""What a shift such as a rewording costs, each record against its counterpart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from rewardgap.errors import UserError
from rewardgap.evaluation.comparisons import adjust, is_difference
from rewardgap.evaluation.robustness import Counterparts, Drop, drop
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.drawing import dots
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import (
    HOLM,
    P_VALUES,
    Figure,
    Finding,
    TextTable,
    Topic,
    interval,
    named,
    number,
    once,
    tested,
)


@dataclass(frozen=True)
class Robustness:
    """What a shift costs, by perturbed set and kind; why sets planned as shifts are none."""

    drops: Mapping[str, Mapping[str, Drop]]
    not_shifts: Mapping[str, str]


@once
def measure(results: Results) -> Robustness:
    """Compare every perturbed set with its originals, over the runs measured on both."""
    by_set: dict[str, dict[str, Drop]] = {}
    not_shifts: dict[str, str] = {}
    for entry in results.experiment.sets:
        name, original = entry.name, entry.shift_of
        if name in results.sets and original in results.sets:
            runs: dict[str, list[Counterparts]] = {}
            for cell in results.main_cells(name):
                if cell in results.rows[original]:
                    pair = results.rows[original][cell], results.rows[name][cell]
                    runs.setdefault(cell.kind, []).append(pair)
            try:
                by_set[name] = {kind: drop(runs[kind], (original, name)) for kind in runs}
            except UserError as error:
                not_shifts[name] = str(error)
    losses = {(name, kind): by_set[name][kind].loss for name in by_set for kind in by_set[name]}
    for (name, kind), loss in adjust(losses).items():
        by_set[name][kind] = replace(by_set[name][kind], loss=loss)
    return Robustness(by_set, not_shifts)


def sentences(results: Results) -> Iterator[Finding]:
    """Return what shifts cost or gain, where a test separates the two sets, and where none does."""
    measured = measure(results)
    for name, drops in measured.drops.items():
        changed = {kind: cost for kind, cost in drops.items() if is_difference(cost.loss)}
        kept = [kind for kind in drops if kind not in changed]
        if changed:
            losses = [
                f"{kind} models lose {interval(cost.loss.difference)} of their accuracy{turned}"
                if cost.loss.difference.value > 0
                else f"{kind} models gain {interval(-cost.loss.difference)} in accuracy{turned}"
                for kind, cost in changed.items()
                for turned in [f" and flip {cost.flip_rate.value:.0%} of their verdicts"]
            ]
            text = f"Reworded as {name}, {join_names(losses)}"
            if kept:
                text += f"; {join_names(kept)} models show no detectable loss"
            yield Finding("difference", f"{text}.")
        elif drops:
            yield Finding("alike", f"Reworded as {name}, no kind shows a detectable loss.")
        left_out = max((cost.left_out for cost in drops.values()), default=0)
        if left_out:
            text = f"Reworded as {name}: {left_out} records are in only one of the two sets"
            yield Finding("caution", f"{text}; the comparison leaves them out.")
    for name, reason in measured.not_shifts.items():
        yield Finding("caution", f"What rewording as {name} costs is not known: {reason}.")


def headline(results: Results) -> Iterator[Finding]:
    """Return which kinds other wording hurts most, and where."""
    drops = measure(results).drops
    worst: dict[str, tuple[float, str]] = {}
    for name, by_kind in drops.items():
        for kind, cost in by_kind.items():
            lost = cost.loss.difference.value
            if is_difference(cost.loss) and lost > max(worst.get(kind, (0.0, ""))[0], 0.0):
                worst[kind] = lost, name
    kinds = dict.fromkeys(kind for by_kind in drops.values() for kind in by_kind)
    spared = [kind for kind in kinds if kind not in worst]
    hurt = sorted(worst, key=lambda kind: -worst[kind][0])
    parts = [f"{kind} models {number(worst[kind][0])} ({worst[kind][1]})" for kind in hurt]
    if parts:
        text = f"At worst, other wording costs {join_names(parts)} of their accuracy"
        text += f", and {join_names(spared)} models nothing detectable." if spared else "."
        yield Finding("difference", text)
    elif kinds:
        yield Finding(
            "alike", f"Other wording costs no kind detectable accuracy ({named(list(drops))})."
        )


def tables(results: Results) -> Iterator[TextTable]:
    """Return accuracy lost and share of verdicts that flip."""
    rows = [
        [name, _verdict(cost), kind, str(cost.loss.n), lost, interval(cost.flip_rate), *p_values]
        for name, drops in measure(results).drops.items()
        for kind, cost in drops.items()
        for lost, *p_values in [tested(cost.loss)]
    ]
    yield TextTable(
        "From a set to its rewording",
        "Accuracy lost and share of verdicts that flip, paired by record, over all runs of a kind; "
        f"95 % intervals over records and runs. {HOLM.format(count=len(rows))}",
        ["reworded set", "verdict", "kind", "records", "accuracy lost", "flipped", *P_VALUES],
        rows,
        3,
    )


def _verdict(cost: Drop) -> str:
    if not is_difference(cost.loss):
        return "no detectable loss"
    return "loses" if cost.loss.difference.value > 0 else "gains"


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracy lost, and verdicts flipped."""
    labels = ("accuracy lost", "share of verdicts that flip")
    columns = ["label", "line", "series", "value", "low", "high"]
    marks = [
        (label, name, kind, *vars(ends).values())
        for name, kinds in measure(results).drops.items()
        for kind, cost in kinds.items()
        for label, ends in zip(labels, (cost.loss.difference, cost.flip_rate), strict=True)
    ]
    frames = pd.DataFrame(marks, columns=columns).groupby("label", sort=False)
    yield Figure(
        "What rewording costs",
        "From a set to the same records reworded, paired record by record: the accuracy that is "
        "lost, and the share of pairs whose verdict flips, which may cost nothing on balance. "
        "Intervals are over records and runs.",
        {str(label): dots(frame.drop(columns="label"), str(label), 0.0) for label, frame in frames},
    )


TOPIC = Topic(
    "robustness", measure, sentences=sentences, headline=headline, tables=tables, figures=figures
)
