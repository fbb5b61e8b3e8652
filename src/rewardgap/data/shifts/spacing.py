"""Shifts of white space, line breaks, and of the space and form of punctuation."""

import re
from random import Random

from rewardgap.data.shifts.shift import Shift, edits

FORMS = {"--": "—", "...": "…", "'": "’"}


def _typographic(match: re.Match[str], draw: Random) -> str:
    mark = match.group()
    if mark == '"':
        before = match.string[match.start() - 1 : match.start()]
        return "“" if before in ("", "(", "[") or before.isspace() else "”"
    return FORMS[mark]


SHIFTS = {
    "extra-spaces": Shift(
        "two or three spaces between words",
        edits(r"(?<=\S) (?=\w)", lambda match, draw: " " * draw.randint(2, 3)),
        rate=0.2,
    ),
    "line-breaks": Shift(
        "a line break instead of a space between words, which Markdown shows as a space",
        edits(r"(?<=[^\W\d_]) (?=[^\W\d_])", lambda match, draw: "\n"),
        rate=0.1,
    ),
    "blank-lines": Shift(
        "a further blank line between paragraphs and between items of a list",
        edits(r"(?<!\n)\n+(?=[^\s|])", lambda match, draw: match.group() + "\n"),
    ),
    "trailing-spaces": Shift(
        "a space at the end of lines",
        edits(r"(?<=\S)(?:(?=\n)|\Z)", lambda match, draw: " "),
    ),
    "punctuation-spaces": Shift(
        "a space before punctuation",
        edits(r"(?<=[^\W\d_])[,.;:!?](?=\s|\Z)", lambda match, draw: f" {match.group()}"),
    ),
    "typographic": Shift(
        "curly quotation marks and apostrophes, dashes and ellipses as one character",
        edits(r"(?<=[^\W\d_])'(?=[^\W\d_])|\"|(?<=\s)--(?=\s)|(?<=\w)\.\.\.", _typographic),
    ),
}
