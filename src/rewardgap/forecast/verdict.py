"""What a forecast means: a table, and a few sentences that claim no more than the intervals do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

from rewardgap.forecast.outcome import Outcome
from rewardgap.metrics import Interval
from rewardgap.statistics import compare, holm

Outcomes: TypeAlias = Mapping[str, Mapping[str, Outcome]]
"""By evaluation set and kind."""

SIGNIFICANCE = 0.05
CHANCE = 0.5


def format_table(outcomes: Outcomes, loss: float) -> str:
    """Plain text: for each set a line a kind, then the content-blind rules; 95 % intervals."""
    lines: list[tuple[str, ...]] = [("", "one step", f"loss {loss:g}", "convergence")]
    for name, kinds in outcomes.items():
        first = next(iter(kinds.values()))
        lines.append((f"{name} (token overlap {first.token_overlap:.2f})", "", "", ""))
        for kind, each in kinds.items():
            figures = each.one_step, each.at_loss.accuracy, each.convergence
            lines.append((f"  {kind}", *map(_interval, figures)))
        for rule, accuracy in first.at_loss.baselines.items():
            lines.append((f"  ({rule.replace('_', ' ')})", "", _interval(accuracy), ""))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def conclude(outcomes: Outcomes, loss: float) -> str:
    """Which kind to train, where it is expected to fail, and which blind rules do better."""
    wins = _wins(outcomes)
    kinds = list(next(iter(outcomes.values())))
    advised = [kind for kind in kinds if any(win.winner == kind for win in wins)]
    sentences = [_advice(kinds, advised, wins)]
    for kind in advised or kinds:
        sentences += _weaknesses(kind, {name: each[kind] for name, each in outcomes.items()})
    sentences += _blind_rules(outcomes)
    sentences += _unreached(outcomes, loss)
    return "\n".join(f"- {sentence}" for sentence in sentences)


@dataclass(frozen=True)
class _Win:
    """One kind is more accurate than another on a set, beyond chance."""

    name: str
    winner: str
    loser: str


def _wins(outcomes: Outcomes) -> list[_Win]:
    """All wins, by McNemar's exact test with Holm's correction over sets and pairs of kinds."""
    found = [
        (name, first, second, compare(kinds[first].rows, kinds[second].rows))
        for name, kinds in outcomes.items()
        for first, second in combinations(kinds, 2)
    ]
    adjusted = holm([comparison.mcnemar_p for *_, comparison in found])
    wins = []
    for (name, first, second, comparison), p_value in zip(found, adjusted, strict=True):
        if p_value < SIGNIFICANCE:
            ahead = comparison.difference.value > 0
            wins.append(_Win(name, *((first, second) if ahead else (second, first))))
    return wins


def _advice(kinds: Sequence[str], advised: Sequence[str], wins: Sequence[_Win]) -> str:
    if len(kinds) == 1:
        return f"Only {kinds[0]} was forecast: name two kinds or more to learn which to train."
    if not wins:
        return (
            f"The intervals do not separate {_listed(kinds)} on any set: "
            "this forecast does not say which to train."
        )
    victories = "; ".join(
        f"{kind} is expected to be more accurate {_victories(kind, wins)}" for kind in advised
    )
    beaten = {win.loser for win in wins}
    best = [kind for kind in advised if kind not in beaten]
    if len(best) == 1:
        return f"Train {best[0]}: {victories}."
    return f"No kind is ahead everywhere: {victories}."


def _victories(kind: str, wins: Sequence[_Win]) -> str:
    losers = dict.fromkeys(win.loser for win in wins if win.winner == kind)
    return ", and ".join(
        f"than {loser} on {_listed([w.name for w in wins if (w.winner, w.loser) == (kind, loser)])}"
        for loser in losers
    )


def _weaknesses(kind: str, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    accuracies = {name: each.at_loss.accuracy for name, each in outcomes.items()}
    wrong = [name for name, accuracy in accuracies.items() if accuracy.high < CHANCE]
    unclear = [name for name, a in accuracies.items() if a.low <= CHANCE <= a.high]
    if wrong:
        yield f"{kind} is expected to prefer the wrong response on {_listed(wrong)}."
    if unclear:
        yield f"{kind} cannot be told from guessing on {_listed(unclear)}."


def _blind_rules(outcomes: Outcomes) -> Iterator[str]:
    for name, kinds in outcomes.items():
        best = max(kinds, key=lambda kind: kinds[kind].at_loss.accuracy.value)
        accuracy = kinds[best].at_loss.accuracy.value
        rules = kinds[best].at_loss.baselines
        rule = max(rules, key=lambda each: rules[each].value)
        if rules[rule].value > accuracy:
            yield (
                f"On {name} a rule that does not read does better than every kind: "
                f"{rule.replace('_', ' ')} {_interval(rules[rule])}, against {accuracy:.3f} "
                f"for {best}."
            )


def _unreached(outcomes: Outcomes, loss: float) -> Iterator[str]:
    for kind, outcome in next(iter(outcomes.values())).items():
        if outcome.loss > loss:
            yield (
                f"With what this level trains, {kind} gets no lower than a training loss of "
                f"{outcome.loss:.2g}; it is judged there."
            )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
