"""What a shift is: a drawn change of a text, what it keeps, and which sides it may change."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal, TypeAlias, get_args

from rewardgap.configs.shifting import Side
from rewardgap.data.shifts.protected import Spans, free_spans

SIDES: tuple[Side, ...] = get_args(Side)
RESPONSES: tuple[Side, ...] = ("responses", "chosen", "rejected")
PROMPT: tuple[Side, ...] = ("prompt",)

Change: TypeAlias = Callable[[re.Match[str], Random], str]
"""Returns what stands in place of a match."""


@lru_cache(maxsize=64)
def _matches(pattern: re.Pattern[str], text: str, spans: Spans) -> tuple[re.Match[str], ...]:
    """Return the matches in parts of a text, of which several shifts in a row look for the same."""
    return tuple(
        match
        for start, stop in spans
        for match in pattern.finditer(text, start, stop)
        if match.end() < stop or stop == len(text) or _goes_on(pattern, text, match)
    )


def _goes_on(pattern: re.Pattern[str], text: str, match: re.Match[str]) -> bool:
    """Return whether a match at the end of a span, which it took for the text's, is one indeed."""
    again = pattern.match(text, match.start())
    return again is not None and again.end() == match.end()


@dataclass(frozen=True)
class Passage:
    """A text to shift.

    Attributes:
        text: The text.
        rate: The share of places that are changed; of a shift of whole texts, that of texts.
        draw: What is random.
        prompt: What the text answers; empty if it is a prompt.
    """

    text: str
    rate: float
    draw: Random
    prompt: str = ""

    def hit(self) -> bool:
        """Draw whether the next place is changed."""
        return self.draw.random() < self.rate

    def replace(self, pattern: re.Pattern[str], change: Change, spans: Spans | None = None) -> str:
        """Return the text with the matches that are drawn changed, in `spans` or where it is free.

        A match does not cross the end of a span.
        """
        parts, end = [], 0
        draw, rate = self.draw.random, self.rate
        for match in _matches(
            pattern, self.text, free_spans(self.text) if spans is None else spans
        ):
            if draw() < rate:
                parts += [self.text[end : match.start()], change(match, self.draw)]
                end = match.end()
        return "".join([*parts, self.text[end:]])


@dataclass(frozen=True)
class Shift:
    """One shift.

    Attributes:
        summary: What it does, in a line.
        apply: Returns the changed text; the same one where it finds nothing to change.
        keeps: What stays as it was: the meaning of every text (code, LaTeX and addresses are left
            alone); only which response is the better one; or nothing.
        rate: The default rate.
        sides: The texts that it may change, the default first.
    """

    summary: str
    apply: Callable[[Passage], str]
    keeps: Literal["meaning", "ranking", "nothing"] = "meaning"
    rate: float = 1.0
    sides: tuple[Side, ...] = SIDES

    @property
    def preserves(self) -> bool:
        """Whether it keeps the meaning or the ranking."""
        return self.keeps != "nothing"


def edits(pattern: str, change: Change) -> Callable[[Passage], str]:
    """Return a shift of all matches of a pattern that are drawn, outside of what is protected."""
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda passage: passage.replace(compiled, change)


def of_prose(change: Callable[[Passage], str]) -> Callable[[Passage], str]:
    """Return a shift of whole texts that are drawn; a text that is all code stays."""

    def apply(passage: Passage) -> str:
        return change(passage) if passage.hit() and free_spans(passage.text) else passage.text

    return apply
