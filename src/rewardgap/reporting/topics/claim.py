"""Whether the claim under test held: its predictions, each decided by a paired test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewardgap.evaluation.accuracy import CHANCE as HALF
from rewardgap.evaluation.comparisons import Comparison, adjust, is_difference
from rewardgap.evaluation.text import counted
from rewardgap.io.grid_folder import CHANCE, ClaimedLead
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import NOTHING, TextTable, Topic, interval, number, once, tested
from rewardgap.reporting.topics import accuracy, comparisons

Outcome = Literal["held", "not shown", "contradicted"]
"""The test finds the difference, none, or the opposite one."""

ORDER: tuple[Outcome, ...] = ("contradicted", "not shown", "held")
"""Of a claim with several predictions, the first outcome that any of them has."""
MOST_NAMED = 2
"""Deciding predictions that the verdict names; the table has them all."""


@dataclass(frozen=True)
class Decided:
    """A prediction with what was measured; the comparison is None where runs are missing."""

    prediction: ClaimedLead
    comparison: Comparison | None
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """What tests say of the claim; `decided` is empty where it has no form that they can decide."""

    outcome: Outcome
    decided: Sequence[Decided]


@once
def measure(results: Results) -> Verdict:
    """Decide every prediction by the comparison of its kinds, or of its kind with chance."""
    kinds = comparisons.measure(results).kinds
    chances = _against_chance(results)
    decided = []
    for prediction in results.experiment.predicts:
        ahead, behind, name = prediction.ahead, prediction.behind, prediction.set_name
        known = {**kinds.get(name, {}), **chances.get(name, {})}
        comparison = known.get((ahead, behind))
        if comparison is None and (backwards := known.get((behind, ahead))):
            comparison = backwards.reversed()
        decided.append(Decided(prediction, comparison, _outcome(comparison)))
    outcomes = {entry.outcome for entry in decided}
    return Verdict(next((known for known in ORDER if known in outcomes), "not shown"), decided)


def _outcome(comparison: Comparison | None) -> Outcome:
    if comparison is None or not is_difference(comparison):
        return "not shown"
    return "held" if comparison.difference.value > 0 else "contradicted"


def _against_chance(results: Results) -> Mapping[str, Mapping[tuple[str, str], Comparison]]:
    """Compare kinds with one half, where that is predicted; corrected for all of these together."""
    family = {}
    for prediction in results.experiment.predicts:
        runs = results.runs(prediction.set_name) if prediction.set_name in results.sets else {}
        for kind in {prediction.ahead, prediction.behind} & runs.keys():
            if CHANCE in (prediction.ahead, prediction.behind):
                gains = [comparisons.accuracies(rows) - HALF for rows in runs[kind].values()]
                comparison = comparisons.compare_runs(gains, results, prediction.set_name)
                family[prediction.set_name, kind] = comparison
    by_set: dict[str, dict[tuple[str, str], Comparison]] = {}
    for (name, kind), comparison in adjust(family).items():
        by_set.setdefault(name, {})[kind, CHANCE] = comparison
    return by_set


def in_words(results: Results) -> str:
    """Return the deciding numbers of the verdict, or why there is none."""
    verdict = measure(results)
    if not verdict.decided:
        return (
            "The claim is declared in no form that tests can decide; compare it with the numbers."
        )
    deciding = [entry for entry in verdict.decided if entry.outcome == verdict.outcome]
    deciding.sort(key=_distance, reverse=verdict.outcome == "contradicted")
    counts = f"{len(deciding)} of {counted(len(verdict.decided), 'prediction')}"
    which = "the closest" if verdict.outcome == "held" else "such as"
    most = 1 if verdict.outcome == "held" else MOST_NAMED
    named = "; ".join(_sentence(entry, results) for entry in deciding[:most])
    return f"{counts} {verdict.outcome}, {which}: {named}."


def _distance(entry: Decided) -> float:
    return abs(entry.comparison.difference.value) if entry.comparison else -1.0


def _sentence(entry: Decided, results: Results) -> str:
    """Write who is ahead of whom on which set, and by how much."""
    prediction, comparison = entry.prediction, entry.comparison
    name = prediction.set_name
    ahead, behind = (
        _with_accuracy(side, name, results) for side in (prediction.ahead, prediction.behind)
    )
    if comparison is None:
        return f"{ahead} and {behind} are not both measured on {name}"
    difference = comparison.difference
    if entry.outcome == "held":
        return f"{ahead} is ahead of {behind} on {name} by {interval(difference)}"
    if entry.outcome == "contradicted":
        return f"{behind} is ahead of {ahead} on {name} by {interval(-difference)}"
    alike = f"{ahead} and {behind} cannot be told apart on {name}"
    return f"{alike}, difference {interval(difference)}"


def _with_accuracy(kind: str, name: str, results: Results) -> str:
    summary = accuracy.measure(results).overall.get(name, {}).get(kind)
    return f"{kind} ({number(summary.accuracy.value)})" if summary else kind


def tables(results: Results) -> Iterator[TextTable]:
    """Return every prediction with its outcome."""
    yield TextTable(
        "The claim, prediction by prediction",
        "A prediction holds where the paired test, after Holm's correction, finds the difference "
        "and the interval leaves out 0, and is contradicted where both say the opposite. "
        "Comparisons with chance, an accuracy of ½, are corrected for by themselves.",
        ["set", "outcome", "prediction", "difference", "Holm p"],
        [
            [
                *(entry.prediction.set_name, entry.outcome),
                f"{entry.prediction.ahead} above {entry.prediction.behind}",
                *(tested(entry.comparison)[:2] if entry.comparison else [NOTHING] * 2),
            ]
            for entry in measure(results).decided
        ],
        3,
    )


TOPIC = Topic("claim", measure, tables=tables)
