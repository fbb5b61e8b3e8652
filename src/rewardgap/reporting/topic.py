"""What a topic of the report is: measures, sentences, tables and charts of one question."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal, TypeVar

import altair as alt

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import Comparison, is_difference, is_significant
from rewardgap.evaluation.text import format_interval, join_names
from rewardgap.reporting.results import Results

Tone = Literal["difference", "alike", "caution", "paper"]
Measurement = TypeVar("Measurement")

TOPICS = (
    *("claim", "accuracy", "training", "comparisons", "win_rates", "robustness"),
    *("baselines", "styles", "best_of_n", "settings", "generations", "forecasts"),
)
"""The modules of `topics` in the order of the page; each ends with its `TOPIC`."""
NOTHING = "–"
MOST_NAMED = 3
"""Sets that a headline names, and differences within a kind that sentences do."""
P_VALUES = ("Holm p", "permutation p", "McNemar p")
HOLM = (
    "Holm's correction is of the permutation test, over all {count} comparisons of this table; it "
    "takes the runs as they are. A difference is significant where Holm's p is below 0.05 and the "
    "interval leaves out 0."
)


@dataclass(frozen=True)
class Finding:
    """A sentence, and what sort of news it is."""

    tone: Tone
    text: str


@dataclass(frozen=True)
class TextTable:
    """A table on the page: cells as text, of which the first `stubs` columns are labels."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    stubs: int


@dataclass(frozen=True)
class Figure:
    """A chart on the page, in variants by the name that is chosen; shown on demand if `folded`."""

    title: str
    note: str
    variants: Mapping[str, alt.LayerChart]
    folded: bool = False


def _nothing(_: Results) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Topic:
    """A question that the report answers of every experiment.

    `measure` returns its numbers, which `report.json` has under its name; the rest what they say,
    the one sentence of it that stands above the charts, and tables and charts: those without rows
    or variants are left out.
    """

    name: str
    measure: Callable[[Results], Any]
    sentences: Callable[[Results], Iterable[Finding]] = _nothing
    headline: Callable[[Results], Iterable[Finding]] = _nothing
    tables: Callable[[Results], Iterable[TextTable]] = _nothing
    figures: Callable[[Results], Iterable[Figure]] = _nothing


@cache
def all_topics() -> tuple[Topic, ...]:
    """Return the topics of a report, in the order of the page."""
    return tuple(import_module(f"rewardgap.reporting.topics.{name}").TOPIC for name in TOPICS)


def once(measure: Callable[[Results], Measurement]) -> Callable[[Results], Measurement]:
    """Compute a measure once for each experiment."""

    def cached(results: Results) -> Measurement:
        if measure not in results.measures:
            results.measures[measure] = measure(results)
        value: Measurement = results.measures[measure]
        return value

    return cached


def number(value: float) -> str:
    """Return three decimals with a real minus."""
    return f"{value:.3f}".replace("-", "−")


def interval(value: Interval | None) -> str:
    """Return a value with its interval, or a dash."""
    return format_interval(value).replace("-", "−") if value else NOTHING


def tested(test: Comparison) -> list[str]:
    """Return the cells of a difference: with its interval, and the P_VALUES."""
    p_values = (test.holm_p, test.permutation_p, test.mcnemar_p)
    return [interval(test.difference), *("< 0.001" if p < 0.001 else number(p) for p in p_values)]


def significance(first: str, second: str, comparison: Comparison) -> str:
    """Return what a table says of two names: who is ahead, or why nobody is."""
    if is_difference(comparison):
        return f"{first if comparison.difference.value > 0 else second} is ahead"
    if is_significant(comparison):
        return "these runs differ, others may not"
    return "cannot be told apart"


def named(names: Sequence[str]) -> str:
    """Return the names of sets, or how many they are where they are more than a sentence holds."""
    if len(names) <= MOST_NAMED:
        return join_names(names)
    return f"{len(names)} sets ({', '.join(names[:MOST_NAMED])}, …)"


def baseline_name(baseline: str) -> str:
    """Return the name of a baseline as one says it."""
    names = {"longer": "longer wins", "shorter": "shorter wins"}
    return names.get(baseline, baseline.replace("_", " "))
