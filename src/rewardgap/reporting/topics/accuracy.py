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
    NOTHING,
    Figure,
    Finding,
    TextTable,
    Topic,
    baseline_name,
    interval,
    once,
)

PAPER_MARKS = "Open diamonds: the paper. "


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
    overall = measure(results).overall
    known = {name for kinds in overall.values() for each in kinds.values() for name in each.figures}
    shown = sorted((m for m in MEASURES if m.name in known), key=lambda m: not m.is_column)
    if not shown:
        return
    meanings = "; ".join(f"{measure.title}: {measure.meaning}" for measure in shown)
    rows = []
    for name, summaries in overall.items():
        for kind, summary in summaries.items():
            rows.append([name, kind, *(interval(summary.figures.get(m.name)) for m in shown)])
        for summary in list(summaries.values())[:1]:
            rows += _baseline_rows(name, summary, len(shown))
    yield TextTable(
        "Accuracy beside baselines",
        f"Means over all runs of a kind with 95 % intervals over records and runs. "
        f"{meanings[0].upper()}{meanings[1:]}. Baselines, which understand nothing, are the same "
        "for every kind: rules of length, and a bag of words fitted to the training data.",
        ["set", "kind or baseline", *(known.title for known in shown)],
        rows,
        2,
    )


def _baseline_rows(name: str, summary: Summary, columns: int) -> Iterator[list[str]]:
    for baseline, accuracy in summary.baselines.items():
        blank = [NOTHING] * (columns - 1)
        yield [name, f"“{baseline_name(baseline)}”", interval(accuracy), *blank]


def figures(results: Results) -> Iterator[Figure]:
    """Return accuracies and separations of all models together, and of every model."""
    yield Figure(
        "Accuracy",
        "Share of pairs ranked right (a tie counts ½) with 95 % intervals over records and runs, "
        "which are wide where runs are few and differ. Grey marks below: baselines. "
        f"{PAPER_MARKS * results.in_paper}Dotted: chance.",
        {name: dots(frame, "accuracy", CHANCE) for name, frame in _frames(results, "accuracy")},
    )
    yield Figure(
        "Separation",
        "Mean distance between the chosen and the rejected reward, whichever is higher, in "
        "standard deviations of all rewards of the model on the set. "
        f"{PAPER_MARKS * results.in_paper}",
        {name: dots(frame, "separation") for name, frame in _frames(results, "separation")},
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
    names of baselines are in parentheses.
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
