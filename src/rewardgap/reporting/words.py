"""The findings of an experiment in plain sentences, every one derived from its statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import Comparison, Pair, is_difference
from rewardgap.evaluation.summary import Summary
from rewardgap.reporting.analysis import Analysis
from rewardgap.reporting.answers import Answers
from rewardgap.reporting.paper.tables import Table
from rewardgap.reporting.results import Measured

Tone = Literal["difference", "alike", "caution", "paper"]
MOST_NAMED = 3
"""Differences within a kind, and groups, that sentences name; tables have them all."""
NEAR = 2.0
"""Standard deviations within which a number counts as near to the paper's."""


@dataclass(frozen=True)
class Finding:
    """A sentence, and what sort of news it is."""

    tone: Tone
    text: str


def findings(measured: Measured, analysis: Analysis, tables: Sequence[Table]) -> list[Finding]:
    """What is significant, what cannot be told apart, and what to be wary of.

    Args:
        measured: The experiment.
        analysis: Its statistics.
        tables: The tables of the paper that show this experiment alone.
    """
    found = [*_differences(analysis), *_alike(analysis), *_within_kinds(analysis)]
    found += [*_drops(analysis), *_blind_rules(analysis), *_long_answers(analysis)]
    return [*found, *_generations(analysis), *_beside_paper(tables)]


def number(value: float) -> str:
    """Three decimals with a real minus."""
    return f"{value:.3f}".replace("-", "−")


def interval(value: Interval) -> str:
    """A value with its interval."""
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def listed(names: Sequence[str]) -> str:
    """Names as an English list."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def rule_name(rule: str) -> str:
    """A content-blind rule, as one says it."""
    names = {"longer": "longer wins", "shorter": "shorter wins"}
    return names.get(rule, rule.replace("_", " "))


def _differences(analysis: Analysis) -> Iterator[Finding]:
    """For every two kinds the sets on which they are separated, by who is ahead."""
    for (better, worse), where in _ahead(analysis.kinds).items():
        yield Finding(
            "difference",
            f"{better.capitalize()} models are more accurate than {worse} ones on {listed(where)}.",
        )


def _ahead(found: Mapping[str, Mapping[Pair, Comparison]]) -> dict[Pair, list[str]]:
    """By (better, worse) the sets on which the two are separated, and by how much."""
    ahead: dict[Pair, list[str]] = {}
    for name, comparisons in found.items():
        for (first, second), comparison in comparisons.items():
            if is_difference(comparison):
                gain = comparison.difference
                pair = (first, second) if gain.value > 0 else (second, first)
                gain = gain if gain.value > 0 else -gain
                ahead.setdefault(pair, []).append(f"{name} by {interval(gain)}")
    return ahead


def _alike(analysis: Analysis) -> Iterator[Finding]:
    """Sets by the kinds of which no two are separated there."""
    for group, names in _where_alike(analysis.groups).items():
        yield Finding(
            "alike", f"{listed(group).capitalize()} cannot be told apart on {listed(names)}."
        )


def _where_alike(
    groups: Mapping[str, Sequence[tuple[str, ...]]],
) -> dict[tuple[str, ...], list[str]]:
    where: dict[tuple[str, ...], list[str]] = {}
    for name, some in groups.items():
        for group in some:
            if len(group) > 1:
                where.setdefault(group, []).append(name)
    return where


def _within_kinds(analysis: Analysis) -> Iterator[Finding]:
    """Initial models and settings of a kind that are separated, and those that are not."""
    by_kind: dict[str, dict[str, Mapping[Pair, Comparison]]] = {}
    for (name, kind), some in analysis.subjects.items():
        by_kind.setdefault(kind, {})[name] = some
    for kind, found in by_kind.items():
        ahead = _ahead(found)
        for (better, worse), where in islice(ahead.items(), MOST_NAMED):
            yield Finding(
                "difference",
                f"Of {kind} models, “{better}” is more accurate than “{worse}” on {listed(where)}.",
            )
        if (further := len(ahead) - MOST_NAMED) > 0:
            yield Finding(
                "difference", f"Of {kind} models, {further} more such differences are in the table."
            )
        groups = {name: analysis.subject_groups[name, kind] for name in found}
        for group, names in islice(_where_alike(groups).items(), MOST_NAMED):
            quoted = listed([f"“{each}”" for each in group])
            yield Finding(
                "alike", f"Of {kind} models, {quoted} cannot be told apart on {listed(names)}."
            )


def _drops(analysis: Analysis) -> Iterator[Finding]:
    """What rewording costs or gains, where a test separates the two sets, and where none does."""
    for name, drops in analysis.drops.items():
        changed = {kind: each for kind, each in drops.items() if is_difference(each.loss)}
        kept = [kind for kind in drops if kind not in changed]
        if changed:
            parts = [
                f"{kind} models {_loss(each.drop)} and turn {each.flip_rate.value:.0%} of their "
                "verdicts"
                for kind, each in changed.items()
            ]
            rest = f"; {listed(kept)} models lose nothing that could be told from 0" if kept else ""
            yield Finding("difference", f"Reworded as {name}, {listed(parts)}{rest}.")
        elif drops:
            yield Finding(
                "alike", f"Reworded as {name}, no kind loses accuracy that could be told from 0."
            )
    for name, reason in analysis.not_shifts.items():
        yield Finding("caution", f"What rewording as {name} costs is not known: {reason}.")


def _loss(drop: Interval) -> str:
    if drop.value > 0:
        return f"lose {interval(drop)} of their accuracy"
    return f"gain {interval(-drop)} in accuracy"


def _blind_rules(analysis: Analysis) -> Iterator[Finding]:
    """Kinds that no test shows to beat every content-blind rule, by the best of those rules."""
    beaten: dict[str, list[str]] = {}
    for name, compared in analysis.blind.items():
        overall = analysis.overall[name]
        by_rule: dict[str, dict[str, Comparison]] = {}
        for (kind, rule), each in compared.items():
            by_rule.setdefault(rule, {})[kind] = each
        doubted: set[str] = set()
        for place, (rule, value) in enumerate(_best_first(by_rule, overall)):
            found = {
                kind: each
                for kind, each in by_rule[rule].items()
                if kind not in doubted and not (is_difference(each) and each.difference.value > 0)
            }
            if found:
                said = "a content-blind rule" if place else "the best content-blind rule"
                said = f"On {name} {said}, “{rule_name(rule)}” ({number(value)}), "
                yield Finding("caution", f"{said}{_doubt(found, overall)}.")
            doubted |= found.keys()
        shown = [kind for kind in overall if kind not in doubted]
        if kinds := [kind for kind in shown if all(kind in some for some in by_rule.values())]:
            who = "every kind is" if len(kinds) == len(overall) else f"{listed(kinds)} models are"
            beaten.setdefault(who, []).append(name)
    for who, names in beaten.items():
        yield Finding(
            "difference",
            f"On {listed(names)} {who} more accurate than every content-blind rule.",
        )


def _best_first(
    rules: Mapping[str, Mapping[str, Comparison]], overall: Mapping[str, Summary]
) -> list[tuple[str, float]]:
    """Rules with their accuracy."""
    values = {
        rule: overall[next(iter(kinds))].baselines[rule].value for rule, kinds in rules.items()
    }
    return sorted(values.items(), key=lambda item: -item[1])


def _doubt(found: Mapping[str, Comparison], overall: Mapping[str, Summary]) -> str:
    """What a rule does to kinds that are not shown to beat it."""
    level = [kind for kind, each in found.items() if not is_difference(each)]
    behind = [kind for kind in found if kind not in level]
    parts = [
        f"is more accurate than {_with_accuracy(behind, overall)} models" if behind else "",
        f"cannot be told from {_with_accuracy(level, overall)} models" if level else "",
    ]
    return listed([part for part in parts if part])


def _with_accuracy(kinds: Sequence[str], overall: Mapping[str, Summary]) -> str:
    return listed([f"{kind} ({number(overall[kind].accuracy.value)})" for kind in kinds])


def _long_answers(analysis: Analysis) -> Iterator[Finding]:
    """Kinds whose intervals lie below a half where the longer response is the wrong one."""
    for name, overall in analysis.overall.items():
        failing = {
            kind: accuracy
            for kind, summary in overall.items()
            if (accuracy := summary.figures.get("where_longer_fails")) and accuracy.high < CHANCE
        }
        if failing:
            parts = [f"{kind} models reach {interval(each)}" for kind, each in failing.items()]
            yield Finding(
                "caution",
                f"On the records of {name} where the longer response loses, {listed(parts)}; these "
                "intervals lie below a half.",
            )


def _generations(analysis: Analysis) -> Iterator[Finding]:
    """How well models verify, how often they generate what is right, and whether that changed."""
    for (name, kind), answers in analysis.answers.items():
        known = analysis.overall.get(name, {}).get(kind)
        before = [each.initial.value for each in answers if each.initial]
        if known and len(before) == len(answers):
            share, initial = (
                sum(some) / len(answers)
                for some in ([each.correct.value for each in answers], before)
            )
            low = min(each.correct.low for each in answers)
            high = max(each.correct.high for each in answers)
            tone, verdict = _change(answers, initial)
            yield Finding(
                tone,
                f"On {name}, {kind} models rank responses with accuracy "
                f"{interval(known.accuracy)}, while {share:.1%} (each run's interval within "
                f"{low:.1%} to {high:.1%}) of those that they generate themselves are correct; "
                f"{verdict}.",
            )


def _change(answers: Sequence[Answers], initial: float) -> tuple[Tone, str]:
    """What tests say of the share of correct generations beside that before training."""
    changes = [each.change for each in answers if each.change]
    if len(changes) < len(answers):
        return "caution", f"before training {initial:.1%} were, which is not tested"
    more = sum(is_difference(each) and each.difference.value > 0 for each in changes)
    fewer = sum(is_difference(each) and each.difference.value < 0 for each in changes)
    if not more and not fewer:
        return "alike", f"no run's share can be told from the {initial:.1%} before training"
    counts = [
        f"{what} in {count} of {len(changes)} runs"
        for count, what in ((more, "more"), (fewer, "fewer"))
        if count
    ]
    return "difference", f"before training {initial:.1%} were: a test finds {listed(counts)}"


def _beside_paper(tables: Sequence[Table]) -> Iterator[Finding]:
    """How many numbers are near to the paper's."""
    entries = [entry for table in tables for row in table.rows for entry in row.entries]
    compared = [entry.difference for entry in entries if entry.difference is not None]
    if compared:
        near = sum(abs(each) <= NEAR for each in compared)
        yield Finding(
            "paper",
            f"Of {len(compared)} numbers that the paper prints too, {near} lie within {NEAR:.0f} "
            "standard deviations of its own (the tables below say how that is counted).",
        )
