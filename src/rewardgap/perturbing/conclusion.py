"""What robustness comes to: a table, a few sentences, and the section of a model card."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rewardgap.evaluation.text import (
    align_columns,
    counted,
    format_interval,
    join_names,
    markdown_table,
    share,
)
from rewardgap.perturbing.causes import Causes
from rewardgap.perturbing.effects import Effect, Place
from rewardgap.perturbing.flips import Flips

HEAD = ("shift", "changed", "accuracy lost", "flips", "SD", "d", "p")
NOTES = (
    "changed: records with other words; all others count too, with their rewards as they were.",
    "accuracy lost: paired by record, with its 95 % interval. flips: share of verdicts that flip.",
    "SD: mean change of a reward in standard deviations of the original rewards.",
    "d: Cohen's d of the paired fall of the margin. p: paired permutation test of the accuracy "
    "lost, after Holm's correction for all models and shifts.",
)
"""What the columns are."""
WORDS = (
    "What a word adds is the reward of its tokens; where rewards are no sums of tokens, the change "
    "of the reward of the response so far."
)
"""What the page says of words."""
MOST_NAMES = 6
"""Shifts, or words, that a sentence names."""
MOST_WORDS, MOST_EXAMPLES = 20, 3
"""Words and examples of a shift in the JSON file."""
LONGEST = 48
"""Characters of words that are shown."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one or several models.

    Attributes:
        data: The data, as they were named.
        effects: By model and shift, for all shifts that changed a record.
        unchanged: The shifts that changed none.
        flips: The pairs whose order every shift turns.
        causes: Which words turned them.
    """

    data: str
    effects: Mapping[Place, Effect]
    unchanged: Sequence[str]
    flips: Mapping[Place, Flips]
    causes: Mapping[Place, Causes]

    @property
    def models(self) -> list[str]:
        """The models, in order."""
        return list(dict.fromkeys(model for model, _ in self.effects))

    def of_model(self, model: str) -> dict[str, Effect]:
        """Return the effects on a model by shift, what costs most first."""
        effects = {shift: effect for (name, shift), effect in self.effects.items() if name == model}
        return dict(sorted(effects.items(), key=lambda item: -item[1].lost))


def cells(shift: str, effect: Effect) -> list[str]:
    """Return a row of the table: see `HEAD`."""
    lost, flips = effect.cost.loss.difference, effect.cost.flip_rate.value
    numbers = (_short(effect.reward_change), _short(effect.effect_size))
    return [
        shift,
        f"{effect.changed:,}",
        format_interval(lost),
        f"{flips:.3f}",
        *numbers,
        p_value(effect.cost.loss.holm_p),
    ]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"  # no negative zero


def p_value(value: float) -> str:
    """Return a p-value as tables show it."""
    return "<.001" if value < 0.001 else f"{value:.3f}"


def title(measured: Measured, model: str) -> str:
    """Return what the table of a model is of."""
    effect = next(iter(measured.of_model(model).values()))
    records = counted(effect.cost.loss.n, "record")
    return f"{model} on {measured.data}: {records}, accuracy {effect.before:.3f}"


def format_effects(measured: Measured) -> str:
    """Return a table for every model, 80 characters wide."""
    return "\n\n".join(
        f"{title(measured, model)}\n{align_columns([HEAD, *rows], right=range(1, len(HEAD)))}"
        for model in measured.models
        for rows in [[cells(*item) for item in measured.of_model(model).items()]]
    )


def conclude(measured: Measured) -> list[str]:
    """Return for every model in a sentence what costs it most, and what is not known."""
    sentences = [_conclude(model, measured) for model in measured.models]
    if measured.unchanged:
        names = _names(measured.unchanged)
        sentences.append(f"Not measured, as nothing in the data could be changed: {names}.")
    left_out = max(effect.cost.left_out for effect in measured.effects.values())
    if left_out:
        sentences.append(f"Up to {counted(left_out, 'record')} could not be read and are left out.")
    return sentences


def _conclude(model: str, measured: Measured) -> str:
    effects = measured.of_model(model)
    (worst, most), *_ = effects.items()
    losses = [shift for shift, effect in effects.items() if effect.is_detected and effect.lost > 0]
    gains = [shift for shift, effect in effects.items() if effect.is_detected and effect.lost < 0]
    if losses:
        worst, most = losses[0], effects[losses[0]]
        text = (
            f"{model} loses accuracy under {share(len(losses), len(effects), 'shift')}: "
            f"{_names(losses)}. The worst is {worst}: accuracy falls from {most.before:.3f} to "
            f"{most.after:.3f}, by {format_interval(most.cost.loss.difference)}, and "
            f"{100 * most.cost.flip_rate.value:.0f} % of the verdicts flip"
        )
        for before, after, count in measured.causes[model, worst].count()[:1]:
            flips = len(measured.flips[model, worst].largest)
            text += f", most often by {describe_words(before, after)} ({count} of {flips})"
    else:
        text = (
            f"{model}: no shift shows a detectable loss; the largest is "
            f"{format_interval(most.cost.loss.difference)} under {worst}"
        )
    return f"{text}. It gains under {_names(gains)}." if gains else f"{text}."


def describe_flips(flips: Flips, causes: Causes) -> list[str]:
    """Return in sentences how many records a shift flips, and which words did it."""
    wrong, right = len(flips.to_wrong), len(flips.to_right)
    sentences = [f"{counted(wrong + right, 'record')} flip: {wrong} to wrong, {right} to right."]
    if causes.by_record is None:
        return [*sentences, "Which words did it is not known: the model gives words no rewards."]
    counts = causes.count()
    if counts:
        named = [f"{describe_words(*texts)} ({number})" for *texts, number in counts[:MOST_NAMES]]
        more = f" and {len(counts) - MOST_NAMES} others" if len(counts) > MOST_NAMES else ""
        sentences.append(f"What moved the margin most: {', '.join(named)}{more}.")
    changed = causes.share_of_changed_words
    if changed is not None:
        sentences.append(
            f"Words that differ make {100 * changed:.0f} % of the change, the others the rest."
            if 0 <= changed <= 1
            else "Words that differ and words that stayed move margins against each other."
        )
    return sentences


def describe_words(before: str, after: str) -> str:
    """Return what became of the words at one place."""
    old, new = (f"“{_cut(text)}”" for text in (before, after))
    if before == after:
        return f"{old} (stayed)"
    if not after:
        return f"{old} removed"
    return f"{old} → {new}" if before else f"{new} added"


def _cut(text: str) -> str:
    """Return a text of one line whose spaces show if it has nothing else, cut in its middle."""
    text = text.replace("\n", "↵")
    text = text if text.strip() else text.replace(" ", "␣")
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 :]}"


def _names(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return join_names([*names[:MOST_NAMES], f"{more} more"] if more > 0 else names)


def write_card(measured: Measured) -> str:
    """Return a section for a model card in Markdown, without anything that Markdown would read."""
    return "\n".join(_card(measured)) + "\n"


def _card(measured: Measured) -> Iterator[str]:
    yield from ("## Robustness to wording", "")
    yield from (f"- {_plain(sentence)}" for sentence in conclude(measured))
    for model in measured.models:
        yield from ("", f"{_plain(title(measured, model))}:", "")
        yield markdown_table([HEAD, *(cells(*item) for item in measured.of_model(model).items())])
    yield from ("", *NOTES)
    yield from (
        "",
        "Shifts are those of `rewardgap shift list`; measured by `rewardgap robustness`.",
    )


def _plain(text: str) -> str:
    """Return a text whose names Markdown shows as they are."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", text)


def figures(measured: Measured) -> dict[str, Any]:
    """Return all numbers as `robustness.json` has them."""
    return {
        "data": measured.data,
        "models": {
            model: {
                shift: effect.to_json() | {"flips": _flip_figures(measured, (model, shift))}
                for shift, effect in measured.of_model(model).items()
            }
            for model in measured.models
        },
        "unchanged": list(measured.unchanged),
        "conclusion": conclude(measured),
    }


def _flip_figures(measured: Measured, place: Place) -> dict[str, Any]:
    """Return how many records a shift flips and which words did it, with a few of the largest."""
    flips, causes = measured.flips[place], measured.causes[place]
    by_record = causes.by_record or {}
    return {
        "to_wrong": len(flips.to_wrong),
        "to_right": len(flips.to_right),
        "share_of_changed_words": causes.share_of_changed_words,
        "words": [
            {"before": before, "after": after, "flips": count}
            for before, after, count in causes.count()[:MOST_WORDS]
        ],
        "examples": [
            {"id": flip.id, "margins": flip.margins}
            | ({"cause": asdict(by_record[flip.id])} if flip.id in by_record else {})
            for flip in flips.largest[:MOST_EXAMPLES]
        ],
    }
