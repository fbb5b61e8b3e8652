"""What a forecast means: a table, and a few sentences that claim no more than the intervals do."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.stats import norm

from rewardgap.dynamics.projection import RandomProjection
from rewardgap.evaluation.accuracy import (
    CHANCE,
    baseline_rewards,
    prompt_clusters,
    record_accuracies,
)
from rewardgap.evaluation.comparisons import SIGNIFICANCE, compare_gains, holm
from rewardgap.evaluation.text import align_columns, format_interval, join_names
from rewardgap.forecasting.outcome import Array, ForecastOutcome

Outcomes: TypeAlias = Mapping[str, Mapping[str, ForecastOutcome]]
"""By evaluation set and kind."""

CAVEAT = (
    "Intervals are over evaluation records and, at the stated loss, over training pairs; the error "
    "of the forecast itself is not in them."
)


def format_forecast(outcomes: Outcomes, loss: float) -> str:
    """Return the table: for each set a line for every kind, then for the content-blind rules.

    Intervals are 95 %. The last column is the share of pairs that the max-margin separator ranks
    rightly.
    """
    lines: list[tuple[str, ...]] = [("", "one step", f"loss {loss:g}", "convergence", "u*")]
    for name, kinds in outcomes.items():
        first = next(iter(kinds.values()))
        lines.append((f"{name} (token overlap {first.token_overlap:.2f})", *[""] * 4))
        for kind, outcome in kinds.items():
            figures = outcome.one_step, outcome.at_loss.accuracy, outcome.convergence
            share = outcome.separator_share
            positive = "not separable" if share is None else f"{share:.3f}"
            lines.append((f"  {kind}", *map(format_interval, figures), positive))
        for rule, accuracy in first.at_loss.baselines.items():
            lines.append((f"  ({rule.replace('_', ' ')})", "", format_interval(accuracy), "", ""))
    return align_columns(lines)


def describe_projections(projections: Mapping[str, RandomProjection]) -> str:
    """Return how much is kept of every kind's gradients, and by how much their products err."""
    whole = [kind for kind, projection in projections.items() if not projection.error]
    parts = [f"kept whole for {join_names(whole)}"] if whole else []
    parts += [
        f"projected to {projection.size:,} of {projection.entries:,} numbers for {kind}, by which "
        f"products err by {projection.error:.2g} of the product of the norms (one standard "
        "deviation)"
        for kind, projection in projections.items()
        if projection.error
    ]
    return f"Gradients are {'; '.join(parts)}."


def recommend(outcomes: Outcomes, loss: float) -> str:
    """Return which kind to train, where each is expected to fail, and which rules do better."""
    wins = _wins(outcomes)
    first = next(iter(outcomes.values()))
    sentences = [_advice(list(first), wins)]
    for kind in first:
        sentences += _weaknesses(kind, {name: of_set[kind] for name, of_set in outcomes.items()})
    sentences += [
        *_better_rules(outcomes),
        *(
            f"With its last layer alone {kind} gets no lower than a training loss of "
            f"{outcome.loss:.2g}, and is judged there."
            for kind, outcome in first.items()
            if outcome.loss > loss
        ),
    ]
    if inseparable := [kind for kind, outcome in first.items() if outcome.separator_share is None]:
        sentences.append(
            f"The training pairs are not separable for {join_names(inseparable)}: no weights of "
            "the last layer rank all of them rightly, so that there is no u*; convergence is the "
            "least loss."
        )
    return "\n".join(f"- {sentence}" for sentence in [*sentences, CAVEAT])


class _Win(NamedTuple):
    """One kind is more accurate than another on a set, beyond chance."""

    name: str
    winner: str
    loser: str


def _wins(outcomes: Outcomes) -> list[_Win]:
    """Return all wins, with Holm's correction over sets and pairs of kinds."""
    comparisons = {
        (name, a, b): _compare(kinds[b], _accuracies(kinds[a]), kinds[a].resampled)
        for name, kinds in outcomes.items()
        for a, b in combinations(kinds, 2)
    }
    adjusted = holm([p_value for _, p_value in comparisons.values()])
    return [
        _Win(name, *((a, b) if difference > 0 else (b, a)))
        for ((name, a, b), (difference, _)), p_value in zip(
            comparisons.items(), adjusted, strict=True
        )
        if p_value < SIGNIFICANCE
    ]


def _accuracies(outcome: ForecastOutcome) -> Array:
    return record_accuracies([row.scores for row in outcome.rows])


def _compare(outcome: ForecastOutcome, accuracies: Array, resampled: Array) -> tuple[float, float]:
    """Return by how much a kind or a rule is better than a kind, and the p-value of no difference.

    McNemar's test knows of other evaluation records alone. Other training pairs would have taught
    other things, too: their variance is that between the resamples, on which both kinds were
    trained alike, and a normal test counts both. The larger p-value of the two holds. Accuracies
    are (records,) and, resampled, (S, records): those of a rule have one row.
    """
    gains = resampled - outcome.resampled
    comparison = compare_gains(accuracies - _accuracies(outcome), prompt_clusters(outcome.rows))
    variance = gains.mean(1).var() + gains.mean(0).var() / gains.shape[1]
    difference = comparison.difference.value
    p_value = 2 * norm.sf(abs(difference) / np.sqrt(variance)) if variance else 0.0
    return difference, max(comparison.mcnemar_p, float(p_value))


def _advice(kinds: Sequence[str], wins: Sequence[_Win]) -> str:
    if len(kinds) == 1:
        return f"Only {kinds[0]} was forecast: name two kinds or more to learn which to train."
    if not wins:
        return (
            f"The intervals do not separate {join_names(kinds)} on any set: "
            "this forecast does not say which to train."
        )
    beaten = {win.loser for win in wins}
    best = [kind for kind in kinds if kind not in beaten]
    if len(best) == 1:
        return f"Train {best[0]}: it is expected to be more accurate {_victories(best[0], wins)}."
    winners = dict.fromkeys(win.winner for win in wins)
    victories = "; ".join(f"{kind} is better {_victories(kind, wins)}" for kind in winners)
    return f"No kind is better than all others: {victories}."


def _victories(kind: str, wins: Sequence[_Win]) -> str:
    """Return which kinds a kind beats, and on which sets."""
    losers: dict[str, list[str]] = {}
    for win in wins:
        if win.winner == kind:
            losers.setdefault(win.loser, []).append(win.name)
    return " and ".join(f"than {loser} on {join_names(names)}" for loser, names in losers.items())


def _weaknesses(kind: str, outcomes: Mapping[str, ForecastOutcome]) -> Iterator[str]:
    accuracies = {name: outcome.at_loss.accuracy for name, outcome in outcomes.items()}
    wrong = [name for name, accuracy in accuracies.items() if accuracy.high < CHANCE]
    unclear = [name for name, a in accuracies.items() if a.low <= CHANCE <= a.high]
    if wrong:
        yield f"{kind} is expected to fail, preferring the wrong response, on {join_names(wrong)}."
    if unclear:
        yield f"{kind} cannot be told from guessing on {join_names(unclear)}."


def _better_rules(outcomes: Outcomes) -> Iterator[str]:
    """Yield the best content-blind rule of every set where it scores higher than every kind.

    It does better where tests say so, with Holm's correction over sets, rules and kinds.
    """
    p_values = {}
    for name, kinds in outcomes.items():
        for rule, rewards in baseline_rewards(next(iter(kinds.values())).rows).items():
            right = record_accuracies(rewards)
            for kind, outcome in kinds.items():
                p_values[name, rule, kind] = _compare(outcome, right, right[None])[1]
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for name, kinds in outcomes.items():
        best = max(kinds, key=lambda kind: kinds[kind].at_loss.accuracy.value)
        accuracy, rules = kinds[best].at_loss.accuracy, kinds[best].at_loss.baselines
        rule = max(rules, key=lambda name: rules[name].value)
        if rules[rule].value > accuracy.value:
            beyond = max(adjusted[name, rule, kind] for kind in kinds) < SIGNIFICANCE
            better = "scores higher than any kind, though not beyond chance"
            yield (
                f"On {name} the content-blind rule {rule.replace('_', ' ')!r} "
                f"{'does better than any kind' if beyond else better}: "
                f"{format_interval(rules[rule])}, against {accuracy.value:.3f} for {best}."
            )
