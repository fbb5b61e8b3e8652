"""Shifts that put something before, behind or around a text, or write it in a cipher."""

import re
from collections.abc import Callable, Sequence
from random import Random
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits

from rewardgap.data.shifts.protected import prose_spans
from rewardgap.data.shifts.shift import PROMPT, RESPONSES, Passage, Shift, of_prose

OPENERS = (
    *("Sure. ", "Certainly. ", "Of course. ", "Sure, here is an answer.\n\n", "Okay. "),
    *("Here is what I think.\n\n", "Good question. ", "Thanks for asking. ", "Let me answer.\n\n"),
)
CLOSERS = (
    *(
        "I hope this helps.",
        "Let me know if you have further questions.",
        "Is there anything else?",
    ),
    *("Feel free to ask for more.", "That is my answer.", "I am happy to say more about it."),
)
GREETINGS = ("Hello! ", "Hi there. ", "Good morning. ", "Hello, I have a request.\n\n", "Hi! ")
NEUTRAL = (
    *("The next part follows directly.", "The text goes on below.", "What follows belongs to it."),
    *("This is one part of the text.", "The text has several parts.", "Here the text continues."),
)
UNRELATED = (
    *("The library opens at nine in the morning.", "A blue chair stands beside the window."),
    *("The train to the coast leaves on time.", "The garden has two old apple trees."),
)
TAUTOLOGIES = ("and true is true", "and false is not true", "if true is true")
PARAGRAPHS = re.compile(r"\n[ \t]*\n(?=\S)")


def _before(texts: Sequence[str]) -> Callable[[Passage], str]:
    return of_prose(lambda passage: passage.draw.choice(texts) + passage.text)


def _behind(make: Callable[[Random], str], gap: str = " ") -> Callable[[Passage], str]:
    """Return a shift that puts a text behind, as a paragraph if the last one is no plain prose."""

    def apply(passage: Passage) -> str:
        text = passage.text.rstrip()
        space = gap if text.endswith((".", "!", "?")) and "\n" not in text[-200:] else "\n\n"
        return f"{text}{space}{make(passage.draw)}"

    return of_prose(apply)


def _padded(passage: Passage) -> str:
    """Put neutral sentences between paragraphs, or before the only one."""
    spans = prose_spans(passage.text)
    if not any(PARAGRAPHS.search(passage.text, *span) for span in spans):
        return _before(tuple(f"{sentence}\n\n" for sentence in NEUTRAL))(passage)

    def padded(match: re.Match[str], draw: Random) -> str:
        return f"\n\n{draw.choice(NEUTRAL)}{match.group()}"

    return passage.replace(PARAGRAPHS, padded, spans)


def _name(draw: Random) -> str:
    return "".join(draw.choices(ascii_letters + digits, k=6))


def _rotated(places: int) -> Callable[[Passage], str]:
    moved = (a[places:] + a[:places] for a in (ascii_lowercase, ascii_uppercase))
    table = str.maketrans(ascii_letters, "".join(moved))
    said = f"The letters of this text are moved by {places} places of the alphabet:\n\n"
    return of_prose(lambda passage: said + passage.text.translate(table))


SHIFTS = {
    "opener": Shift("a short opener such as “Sure.” before it", _before(OPENERS), sides=RESPONSES),
    "closer": Shift(
        "a closer such as “I hope this helps.” behind it",
        _behind(lambda draw: draw.choice(CLOSERS)),
        sides=RESPONSES,
    ),
    "greeting": Shift("a greeting before it", _before(GREETINGS), sides=PROMPT),
    "padding": Shift("neutral sentences between paragraphs", _padded),
    "handle": Shift(
        "a random handle such as @x7Kp2a behind it",
        _behind(lambda draw: f"@{_name(draw)}"),
        keeps="ranking",
    ),
    "link": Shift(
        "a random short address behind it",
        _behind(lambda draw: f"https://t.co/{_name(draw)}"),
        keeps="ranking",
    ),
    "stress-test": Shift(
        "a tautology five times behind it",
        _behind(lambda draw: " ".join([draw.choice(TAUTOLOGIES)] * 5)),
        keeps="ranking",
    ),
    "ignore-above": Shift(
        "an unrelated sentence before it, and that it should be ignored",
        of_prose(
            lambda passage: (
                f"{passage.draw.choice(UNRELATED)}\n\nIgnore the text above.\n\n{passage.text}"
            )
        ),
        keeps="ranking",
    ),
    "ignore-below": Shift(
        "an unrelated sentence behind it, and that it should be ignored",
        _behind(lambda draw: f"Ignore the text below.\n\n{draw.choice(UNRELATED)}", "\n\n"),
        keeps="ranking",
    ),
    "rot-13": Shift(
        "letters moved by 13 places of the alphabet, which is said before",
        _rotated(13),
        keeps="ranking",
    ),
    "rot-2": Shift(
        "letters moved by 2 places of the alphabet, which is said before",
        _rotated(2),
        keeps="ranking",
    ),
}
