"""The page of an explanation, and its JSON file."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from math import floor, log10
from pathlib import Path
from typing import Any

from rewardgap.explaining.explanation import Explanation, characters
from rewardgap.explaining.sentences import caution, describe, doubt, number, quote
from rewardgap.io.files import write_text
from rewardgap.io.notebook import NotebookResult
from rewardgap.io.pages import page_templates

FAINTEST = 0.04  # shares of the largest value below this get no colour
STRONGEST = 0.62  # opacity of the largest value: text on it stays readable in light and dark


@dataclass(frozen=True, repr=False)
class ExplanationResult(NotebookResult, os.PathLike[str]):
    """An explanation and its page, which it stands for wherever a path is wanted."""

    page: Path
    explanation: Explanation

    def __fspath__(self) -> str:
        return str(self.page)

    def __str__(self) -> str:
        return "\n".join(filter(None, (describe(self.explanation), doubt(self.explanation))))

    def __repr__(self) -> str:
        record = self.explanation.record
        margin = "" if record.margin is None else f", margin {number(record.margin)}"
        return f"ExplanationResult({str(self.page)!r}: record {record.id}{margin})"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each token: its response, its text, and what it adds to the reward."""
        return [
            {"response": y.label, "token": text, "adds": step, "reward so far": reward}
            for y in self.explanation.record.responses
            for text, step, reward in zip(y.tokens, y.steps, y.prefix_rewards, strict=True)
        ]

    def _repr_html_(self) -> str:
        page = escape(render(self.explanation))
        return f'<iframe srcdoc="{page}" style="width:100%;height:40rem;border:0"></iframe>'


def write_page(path: Path, explanation: Explanation) -> Path:
    """Write `path` and, beside it, the same numbers as .json.

    Raises:
        UserError: If a file cannot be written.
    """
    text = json.dumps(explanation.to_json(), indent=1, ensure_ascii=False)
    write_text(path.with_suffix(".json"), text + "\n")
    write_text(path, render(explanation))
    return path


def render(explanation: Explanation) -> str:
    """Return the page as HTML, which runs no scripts and loads nothing; all text is escaped."""
    environment = page_templates(
        "rewardgap.explaining",
        number=number,
        quote=quote,
        visible=visible,
        beside=beside,
        colour=colour,
        largest=largest,
        by_character=by_character,
    )
    return environment.get_template("page.html").render(
        explanation=explanation,
        summary=describe(explanation),
        doubt=doubt(explanation),
        caution=caution(explanation),
        shares=drop_shares(explanation),
        margin_pairs=margin_pairs(explanation),
    )


def by_character(tokens: Sequence[str], values: Sequence[float]) -> list[tuple[str, float, float]]:
    """Return text, sum of values and running sum of every whole character or longer token."""
    parts = [(parts, sum(values[k] for k in parts)) for parts in characters(tokens)]
    running = accumulate(value for _, value in parts)
    return [
        ("".join(tokens[k] for k in token), value, total)
        for (token, value), total in zip(parts, running, strict=True)
    ]


def visible(token: str) -> str:
    """Return a token with signs for what cannot be seen: line ends, control characters, nothing."""
    signs = (
        chr(0x2400 + ord(sign)) if ord(sign) < 32 and sign not in "\n\t" else sign for sign in token
    )
    return "".join(signs).replace("\n", "↵\n") or "·"


def colour(value: float, largest: float) -> str:
    """Return the style of a value's background: the hue by its sign, the opacity by its size."""
    share = abs(value) / largest if largest else 0.0
    if share < FAINTEST:
        return ""
    hue = "raise" if value > 0 else "lower"
    return f"background:rgb(var(--{hue})/{STRONGEST * min(share, 1):.2f})"


def beside(value: float, largest: float) -> str:
    """Return a value with the decimals that give the largest three digits, so that noise is 0."""
    decimals = max(0, 2 - floor(log10(largest))) if largest else 0
    text = f"{value:+.{decimals}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def largest(groups: Iterable[Iterable[float]]) -> float:
    """Return the largest size of any value; 0 where there is none."""
    return max((abs(value) for values in groups for value in values), default=0.0)


def margin_pairs(explanation: Explanation) -> list[int]:
    """Return the training pairs that raise the margin most, then those that lower it most.

    They are indices, as many as are described for a response; none unless the record is a pair.
    """
    influence = explanation.influence
    if influence is None or not influence.margin_effects:
        return []
    margins = influence.margin_effects
    order = sorted(range(len(margins)), key=lambda pair: -margins[pair])
    shown = max(max(len(y.raising), len(y.lowering)) for y in influence.responses)
    raising = [pair for pair in order[:shown] if margins[pair] > 0]
    return raising + [pair for pair in order[-shown:] if margins[pair] < 0]


def drop_shares(explanation: Explanation) -> list[dict[str, Any]]:
    """Return what each token of four responses adds to the drop, or gain, of the margin."""
    if explanation.counterpart is None or explanation.drop is None:
        return []
    sign = -1.0 if explanation.drop < 0 else 1.0
    responses = (*explanation.record.responses, *explanation.counterpart.responses)
    titles = ("Original", "Original", "Counterpart", "Counterpart")
    return [
        {
            **{"title": f"{title}, {y.label}", "reward": y.reward, "tokens": y.tokens},
            "parts": [sign * s * x for x in y.steps],
        }
        for title, y, s in zip(titles, responses, (1.0, -1.0, -1.0, 1.0), strict=True)
    ]
