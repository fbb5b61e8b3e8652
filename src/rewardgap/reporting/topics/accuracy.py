"""How often a kind ranks a pair right, by evaluation set, beside baselines and the paper."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.measures import MEASURES, Summary, summarise
from rewardgap.evaluation.text import align_columns
from rewardgap.reporting.drawing import dots
from rewardgap.reporting.results import BASELINE, Results, Rows
from rewardgap.reporting.topic import (
    Figure,
    Finding,
    TextTable,
    Topic,
    baseline_name,
    interval,
    once,
)


@dataclass(frozen=True)
class Accuracies:
    """Measures with 95 % intervals over records and runs.

    `overall`, by set and kind, is of all models together, and `by_model`, by set, initial model
    (with its variation) and kind, of the seeds of each.
    """

    overall: Mapping[str, Mapping[str, Summary]]
    by_model: Mapping[str, Mapping[tuple[str, str], Summary]]


@once
def measure(results: Results) -> Accuracies:
    """Summarise the runs of every kind; what has no scores is left out."""
    overall: dict[str, dict[str, Summary]] = {}
    by_model: dict[str, dict[tuple[str, str], Summary]] = {}
    for name in results.sets:
        overall[name] = {
            kind: summarise(*runs.values()) for kind, runs in results.runs(name).items()
        }
        groups: dict[tuple[str, str], list[Rows]] = {}
        for cell, rows in results.rows[name].items():
            groups.setdefault((cell.subject, cell.kind), []).append(rows)
        by_model[name] = {key: summarise(*group) for key, group in groups.items()}
    return Accuracies(overall, by_model)


def tables(results: Results) -> Iterator[TextTable]:
    """Return every kind's measures beside the accuracy of baselines."""
    columns = [known for known in MEASURES if known.is_column]
    further = [known for known in MEASURES if not known.is_column]
    meanings = "; ".join(f"{known.title}: {known.meaning}" for known in (*columns, *further))
    names, baselines = map(baseline_name, results.baselines), results.baselines
    yield TextTable(
        "Accuracy beside content-blind baselines",
        f"Means over all runs of a kind with 95 % intervals. {meanings[0].upper()}{meanings[1:]}. "
        "The other columns are the accuracy of content-blind baselines.",
        ["set", "kind", *(m.title for m in columns), *names, *(m.title for m in further)],
        [
            [
                name,
                kind,
                *(interval(summary.figures.get(known.name)) for known in columns),
                *(interval(summary.baselines.get(baseline)) for baseline in baselines),
                *(interval(summary.figures.get(known.name)) for known in further),
            ]
            for name, summaries in measure(results).overall.items()
            for kind, summary in summaries.items()
        ],
        2,
    )


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracies and margins of all models together, and of every model."""
    yield Figure(
        "Accuracy",
        "Share of pairs ranked right (a tie counts ½) with 95 % intervals over records and runs, "
        "which are wide where runs are few and differ. Grey marks below: content-blind "
        "baselines. Open diamonds: the paper. Dotted: chance.",
        {name: dots(frame, "accuracy", CHANCE) for name, frame in _frames(results, "accuracy")},
    )
    yield Figure(
        "Margin",
        "Mean distance between the chosen and the rejected reward, in standard deviations of all "
        "rewards of the model on the set. Open diamonds: the paper.",
        {name: dots(frame, "margin") for name, frame in _frames(results, "margin")},
        folded=True,
    )


def _frames(results: Results, metric: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Return the marks of all models together, and of each model where there are several."""
    measured = measure(results)
    if results.sets:
        yield "all models together", _marks(results, measured.overall, metric, with_paper=True)
    for model in results.models if len(results.models) > 1 else ():
        summaries = {
            name: {kind: value for (owner, kind), value in values.items() if owner == model}
            for name, values in measured.by_model.items()
        }
        yield model, _marks(results, summaries, metric, with_paper=False)


def _marks(
    results: Results, summaries: Mapping[str, Mapping[str, Summary]], metric: str, with_paper: bool
) -> pd.DataFrame:
    marks: list[tuple[object, ...]] = []
    for name, kinds in summaries.items():
        for kind, summary in kinds.items():
            paper = results.paper(name, metric, kind) if with_paper else None
            marks.append((name, kind, *vars(summary.figures[metric]).values(), paper, False))
        first = next(iter(kinds.values()), None)  # baselines are the same for every kind
        for baseline, ends in first.baselines.items() if first and metric == "accuracy" else ():
            marks.append((name, baseline_name(baseline), ends.value, None, None, None, True))
    return pd.DataFrame(
        marks, columns=["line", "series", "value", "low", "high", "paper", "baseline"]
    )


def terminal_table(results: Results) -> str:
    """Return accuracies as text: a line per kind, then one per baseline; a column per set.

    A cell is the mean ± the standard deviation over seeds, and in brackets what the paper prints;
    baselines are in parentheses.
    """
    lines = [["", *results.sets]]
    lines += [[kind, *(_cell(results, x, kind) for x in results.sets)] for kind in results.kinds]
    means = results.frame.groupby(["metric", "set"])["value"].mean()
    for baseline in results.baselines:
        values = means[f"{BASELINE}{baseline}"]
        cells = [f"{values[name]:.3f}" if name in values else "" for name in results.sets]
        lines.append([f"({baseline_name(baseline)})", *cells])
    return align_columns(lines)


def _cell(results: Results, name: str, kind: str) -> str:
    spread = results.spread("accuracy", [name], kind)
    if spread is None:
        return ""
    paper = results.paper(name, "accuracy", kind)
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.3f}"
    return f"{spread.mean:.3f}{deviation}" + ("" if paper is None else f" [{paper:.3f}]")


def sentences(results: Results) -> Iterator[Finding]:
    """Return how many records count for no run, as some runs have dropped them."""
    for name, count in results.left_out.items():
        if count:
            text = f"{count} records of {name} are left out of every run, as some have dropped them"
            yield Finding("caution", f"{text}: all are measured on the same records.")


TOPIC = Topic("accuracy", measure, sentences=sentences, tables=tables, figures=figures)
