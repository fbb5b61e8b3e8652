"""What a forecast means: a table, and sentences that are said only where they are nearly certain.

A sentence is said because rehearsals say so. Theory, which takes hidden states as fixed, was wrong
too often about trained models to advise (docs/forecast.md); whether it agrees is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from textwrap import fill
from typing import Any

from rewardgap.dynamics.projection import RandomProjection
from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.text import align_columns, counted, format_interval, join_names
from rewardgap.forecasting.prediction import Prediction
from rewardgap.forecasting.rehearsal import Rehearsed
from rewardgap.forecasting.theory import Outcomes

SURE = 0.975
"""A sentence is said where it is true with this probability."""
ALONG = 5
"""How many accuracies along training the table shows."""
COLUMNS = 80
NEAR = 0.1
"""A rule is near a kind that is more accurate by no more than this."""
LENGTH = ("longer", "shorter")


@dataclass(frozen=True)
class Forecasts:
    """All that was forecast.

    Attributes:
        theory: By evaluation set and kind.
        predictions: What rehearsals predict, by evaluation set and kind; empty without rehearsals.
        rehearsed: The rehearsals by kind.
        rules: By evaluation set, the accuracy of rules of length on all of its records.
    """

    theory: Outcomes
    predictions: Mapping[str, Mapping[str, Prediction]]
    rehearsed: Mapping[str, Rehearsed]
    rules: Mapping[str, Mapping[str, Interval]]

    @property
    def kinds(self) -> list[str]:
        """The kinds, in the order in which they were named."""
        return list(next(iter(self.theory.values())))

    def accuracy(self, name: str, kind: str) -> Interval:
        """Return the accuracy that is forecast: of rehearsals or, without any, of theory."""
        predictions = self.predictions.get(name)
        return predictions[kind].accuracy if predictions else self.theory[name][kind].accuracy

    def to_json(self, name: str, kind: str, theory: dict[str, Any]) -> dict[str, Any]:
        """Return what forecast.json holds of a kind on a set; `theory` is what theory says."""
        predictions = self.predictions.get(name)
        return theory | {
            "accuracy": asdict(self.accuracy(name, kind)),
            "theory": theory["accuracy"],
            "rehearsal": predictions[kind].to_json() if predictions else None,
            "better_than": [other for other in self.kinds if self.is_better(name, kind, other)],
            "fails": self.fails(name, kind),
        }

    def is_better(self, name: str, kind: str, other: str) -> bool:
        """Return whether a kind is nearly certain to be more accurate than another on a set."""
        predictions = self.predictions.get(name)
        if not predictions:
            return False
        return predictions[kind].probability_better(predictions[other]) >= SURE

    def fails(self, name: str, kind: str) -> bool:
        """Return whether a kind is nearly certain to be less accurate than guessing on a set."""
        predictions = self.predictions.get(name)
        if not predictions:
            return False
        return predictions[kind].probability_above(CHANCE) <= 1 - SURE


def format_forecast(forecasts: Forecasts) -> str:
    """Return the table: for each set a line for every kind, then the best rule of length."""
    rehearsed = bool(forecasts.predictions)
    lines: list[tuple[str, ...]] = [
        ("accuracy", "forecast" if rehearsed else "", "theory", "along training")
    ]
    for name, kinds in forecasts.theory.items():
        lines.append((name, "", "", ""))
        for kind, outcome in kinds.items():
            theory = outcome.accuracy
            if rehearsed:
                prediction = forecasts.predictions[name][kind]
                cells = (
                    format_interval(prediction.accuracy),
                    f"{theory.value:.3f}",
                    _along([point.accuracy for point in prediction.curve]),
                )
            else:
                cells = ("", format_interval(theory), _along([a for _, a in outcome.curve]))
            lines.append((f"  {kind}", *cells))
        rule, accuracy = best_rule(forecasts, name)
        lines.append((f"  ({rule} wins)", f"{accuracy.value:.3f}", "", ""))
    return "\n".join([*captions(forecasts), "", align_columns(lines)])


def captions(forecasts: Forecasts) -> Iterator[str]:
    """Yield what the numbers are and what they cost."""
    if not forecasts.predictions:
        yield "Accuracy by theory alone (no rehearsal: --budget 0); 95 % intervals leave out the"
        yield "error of theory itself, which may be large: nothing is advised."
        return
    yield "Accuracy where training ends, from rehearsals and, where it agrees, theory;"
    yield "95 % intervals are over records, seeds and pairs, and the forecast's own error."
    for kind, rehearsed in forecasts.rehearsed.items():
        plan, first = rehearsed.plan, rehearsed.rehearsals[0]
        seeds = "" if plan.seeds == 1 else f" by {counted(plan.seeds, 'seed')}"
        yield (
            f"{kind}: {first.steps[-1]} steps of {counted(plan.batch_size, 'pair')}{seeds}, "
            f"{100 * rehearsed.share:.3g} % of its training; "
            f"loss {rehearsed.first_loss:.2f} to {rehearsed.last_loss:.2f}"
        )


def _along(accuracies: list[float]) -> str:
    """Return a few of the accuracies along training, the last one among them."""
    last = len(accuracies) - 1
    places = sorted({round(last * part / (ALONG - 1)) for part in range(ALONG)})
    return " ".join(f"{accuracies[place]:.2f}" for place in places)


def best_rule(forecasts: Forecasts, name: str) -> tuple[str, Interval]:
    """Return the better rule of length on a set, and its accuracy."""
    rules = forecasts.rules[name]
    best = max(LENGTH, key=lambda rule: rules[rule].value)
    return best, rules[best]


def describe(projections: Mapping[str, RandomProjection]) -> str:
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
    return f"Theory's gradients are {'; '.join(parts)}."


def recommend(forecasts: Forecasts) -> list[str]:
    """Return which kind to train, where each is expected to fail, and where length may do as well.

    Without rehearsals nothing is recommended.
    """
    return [
        *_slow(forecasts.rehearsed),
        *(_advice(forecasts) if forecasts.predictions else ()),
        *_failures(forecasts),
        *_rules(forecasts),
        *_disagreements(forecasts),
    ]


def write_list(sentences: Sequence[str]) -> str:
    """Return sentences as a list of lines that fit into a terminal."""
    return "\n".join(
        fill(sentence, COLUMNS, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for sentence in sentences
    )


def _advice(forecasts: Forecasts) -> Iterator[str]:
    kinds = forecasts.kinds
    wins: dict[str, dict[str, list[str]]] = {kind: {} for kind in kinds}
    for winner, loser in permutations(kinds, 2):
        names = [name for name in forecasts.predictions if forecasts.is_better(name, winner, loser)]
        if names:
            wins[winner][loser] = names
    beaten = {loser for losers in wins.values() for loser in losers}
    best = [kind for kind in kinds if kind not in beaten and len(wins[kind]) == len(kinds) - 1]
    told = [kind for kind in kinds if wins[kind]]
    if best and len(kinds) > 1:
        basis = _basis(_agrees_on_order(forecasts, best[0], wins[best[0]]))
        advice = f"Train {best[0]}: it is expected to be more accurate"
        yield f"{advice} {_victories(wins[best[0]])} ({basis})."
    elif told:
        for kind in told:
            basis = _basis(_agrees_on_order(forecasts, kind, wins[kind]))
            advice = f"{kind} is expected to be more accurate"
            yield f"{advice} {_victories(wins[kind])} ({basis})."
    elif len(kinds) > 1:
        yield f"The forecast does not separate {join_names(kinds)} on any set."


def _victories(losers: Mapping[str, list[str]]) -> str:
    """Return which kinds a kind beats, and on which sets."""
    return " and ".join(f"than {loser} on {join_names(names)}" for loser, names in losers.items())


def _agrees_on_order(forecasts: Forecasts, kind: str, losers: Mapping[str, list[str]]) -> bool:
    """Return whether theory, too, finds a kind more accurate than these on all of their sets."""
    return all(
        theory[kind].accuracy.value > theory[loser].accuracy.value
        for loser, names in losers.items()
        for theory in (forecasts.theory[name] for name in names)
    )


def _basis(agrees: bool) -> str:
    """Return what a sentence rests on."""
    return f"by rehearsal; theory {'agrees' if agrees else 'does not agree'}"


def _failures(forecasts: Forecasts) -> Iterator[str]:
    for kind in forecasts.kinds:
        wrong = [name for name in forecasts.predictions if forecasts.fails(name, kind)]
        if wrong:
            agrees = all(forecasts.theory[name][kind].accuracy.high < CHANCE for name in wrong)
            expected = f"{kind} is expected to prefer the wrong response on {join_names(wrong)}"
            yield f"{expected} ({_basis(agrees)})."


def _rules(forecasts: Forecasts) -> Iterator[str]:
    """Yield the sets that length explains about as well as the best kind does.

    A kind that is no better than guessing has learnt something else.
    """
    near: dict[tuple[str, str], list[str]] = {}
    for name in forecasts.predictions:
        best = max(forecasts.kinds, key=lambda kind: forecasts.accuracy(name, kind).value)
        accuracy, (rule, of_rule) = forecasts.accuracy(name, best), best_rule(forecasts, name)
        near_or_above = of_rule.value >= max(accuracy.low, accuracy.value - NEAR)
        if near_or_above and min(of_rule.low, accuracy.value) > CHANCE:
            where = f"{name} ({of_rule.value:.2f} of the pairs)"
            near.setdefault((rule, best), []).append(where)
    for (rule, best), places in near.items():
        yield (
            f"The {rule} response is right about as often as {best}, or more often, on "
            f"{join_names(places)}: length may be all that is learnt."
        )


def _disagreements(forecasts: Forecasts) -> Iterator[str]:
    for kind in forecasts.kinds:
        others = [
            f"{name} ({theory:.2f})"
            for name, of_set in forecasts.predictions.items()
            for theory in [forecasts.theory[name][kind].accuracy.value]
            if not of_set[kind].accuracy.low <= theory <= of_set[kind].accuracy.high
        ]
        if others:
            where = ", ".join(others)
            yield f"Theory, with fixed hidden states, says otherwise of {kind} on {where}."


def _slow(rehearsed: Mapping[str, Rehearsed]) -> Iterator[str]:
    """Yield the kinds whose loss does not fall, with a learning rate that would do."""
    for kind, of_kind in rehearsed.items():
        if of_kind.last_loss > 0.98 * of_kind.first_loss:
            larger = of_kind.last_loss < 1.05 * of_kind.first_loss
            rate = of_kind.learning_rate * (10 if larger else 0.1)
            yield (
                f"The loss of {kind} does not fall ({of_kind.first_loss:.3f} to "
                f"{of_kind.last_loss:.3f}): the learning rate {of_kind.learning_rate:g} is too "
                f"{'small' if larger else 'large'}; try {rate:g}."
            )
