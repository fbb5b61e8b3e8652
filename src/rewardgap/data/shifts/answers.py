r"""Shifts of how a final answer is written: `\boxed{…}`, “The answer is …”, or under `# Answer`."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rewardgap.data.shifts.shift import RESPONSES, Passage, Shift

BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}")
HEADING = re.compile(r"^#+ (?:Final )?Answer:?[ \t]*\n+[ \t]*(\S.*?)\Z", re.MULTILINE)
SENTENCE = re.compile(
    r"(?<![\w,] )\bThe (?:final )?answer is:? +(\$[^$\n]+\$|[^\s$](?:[^\n$]*?[^\s$.])?)\.?\Z",
)
PLAIN = re.compile(r"[\d.,:/% -]*\d%?")
WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")


class FinalAnswer(NamedTuple):
    """A final answer.

    Attributes:
        form: How it is written.
        before: The text without it; what was boxed stays there without its box.
        value: The answer, in LaTeX without dollars or as plain text.
    """

    form: str
    before: str
    value: str


def find_answer(text: str) -> FinalAnswer | None:
    """Return the final answer of a text, if it is in one of the forms."""
    text = text.rstrip()
    if match := HEADING.search(text):
        return FinalAnswer("heading", text[: match.start()], match[1].strip("$ "))
    if match := SENTENCE.search(text):
        if box := BOXED.fullmatch(match[1].strip("$ .")):
            return FinalAnswer("boxed", text[: match.start()], box[1].strip())
        return FinalAnswer("sentence", text[: match.start()], match[1].strip("$ "))
    boxes = list(BOXED.finditer(text))
    if not boxes or not boxes[-1][1].strip():
        return None
    start, stop = boxes[-1].span()
    value = boxes[-1][1].strip()
    return FinalAnswer("boxed", f"{text[:start]}{value}{text[stop:]}", value)


def _written(value: str) -> str:
    """Return an answer as text has it: numbers and words as they are, all else between dollars."""
    if PLAIN.fullmatch(value) or "$" in value or (WORDS.search(value) and "\\" not in value):
        return value
    return f"${value}$"


def _box(value: str) -> str:
    plain = "$" in value or (WORDS.search(value) and "\\" not in value)
    return rf"\boxed{{\text{{{value}}}}}" if plain else rf"\boxed{{{value}}}"


FORMS: Mapping[str, Callable[[str], str]] = {
    "boxed": lambda value: f"${_box(value)}$",
    "sentence": lambda value: f"The answer is {_written(value)}.",
    "heading": lambda value: f"# Answer\n\n{_written(value)}",
}


def _to(form: str) -> Callable[[Passage], str]:
    def apply(passage: Passage) -> str:
        answer = find_answer(passage.text) if passage.hit() else None
        if answer is None or answer.form == form:
            return passage.text
        return f"{answer.before.rstrip()}\n\n{FORMS[form](answer.value)}".lstrip()

    return apply


SHIFTS = {
    "boxed-answer": Shift(r"the final answer as `\boxed{…}`", _to("boxed"), sides=RESPONSES),
    "sentence-answer": Shift(
        "the final answer as “The answer is …”", _to("sentence"), sides=RESPONSES
    ),
    "heading-answer": Shift(
        "the final answer under the heading “# Answer”", _to("heading"), sides=RESPONSES
    ),
}
