"""Shifts of marks around text: Markdown, lists, quotation marks, fences of code."""

import re
from random import Random

from rewardgap.data.shifts.code_blocks import FENCED, find_python
from rewardgap.data.shifts.protected import prose_spans
from rewardgap.data.shifts.sentences import split_sentences
from rewardgap.data.shifts.shift import Passage, Shift, edits, of_prose

ITEM_END = re.compile(r"(?<!\.)[.;,]\Z")
ITEM = r"[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]+"
LIST = re.compile(rf"(?:^{ITEM}\S.*(?:\n|\Z)){{2,}}", re.MULTILINE)
BULLET = re.compile(r"^[ \t]*[-*+•][ \t]+")
PLAIN_LINE = re.compile(rf"^(?!{ITEM}|[ \t]*[#>|]).*\S.*$", re.MULTILINE)
STRIPPED = (
    r"^#{1,6}[ \t]+(?=\S)|^>[ \t]?(?=\S)|^[ \t]*[-*+•][ \t]+(?=[^\W\d]|\*)"
    r"|(?<![\w*])(?P<bold>\*\*|__)(?=[^\s_])(?P<inner>[^*\n]+?)(?<=[^\s_])(?P=bold)"
    r"|(?<![\w*])\*(?=\S)(?P<slanted>[^*\n]+?)(?<=\S)\*(?![\w*])"
)


def _stripped(match: re.Match[str], draw: Random) -> str:
    return match["inner"] or match["slanted"] or ""


def _as_prose(match: re.Match[str], draw: Random) -> str:
    """Return the items of a list as one line; numbers stay."""
    items = [BULLET.sub("", line).strip() for line in match.group().strip().split("\n")]
    ends = ".!?:;,"
    return (
        "; ".join([*(ITEM_END.sub("", item) for item in items[:-1]), items[-1]])
        + ("" if items[-1][-1] in ends else ".")
        + ("\n" if match.group().endswith("\n") else "")
    )


def _bullets_to_prose(passage: Passage) -> str:
    return passage.replace(LIST, _as_prose, prose_spans(passage.text))


def _prose_to_bullets(passage: Passage) -> str:
    parts, end = [], 0
    for start, stop in prose_spans(passage.text):
        for match in PLAIN_LINE.finditer(passage.text, start, stop):
            sentences = split_sentences(passage.text, *match.span())
            if len(sentences) > 1 and passage.hit():
                listed = "\n".join(f"- {sentence}" for sentence in sentences)
                parts += [passage.text[end : match.start()], listed]
                end = match.end()
    return "".join([*parts, passage.text[end:]])


def _fence_code(passage: Passage) -> str:
    """Put Python code that is the whole text into a fence."""
    code = find_python(passage.text)
    whole = len(code) == 1 and code[0].text == passage.text
    if not (whole and passage.hit()) or "```" in passage.text:
        return passage.text
    return "```python\n" + passage.text.rstrip("\n") + "\n```"


def _other_fence(match: re.Match[str], draw: Random) -> str:
    """Return a closed fence with the other mark, unless its code has that too."""
    mark, text = match[1], match.group()
    other = "~" if mark[0] == "`" else "`"
    body, newline, last = text.rpartition("\n")
    if other * 3 in text or not newline or set(last.strip(" \t>")) != {mark[0]}:
        return text
    return body.replace(mark, other * len(mark), 1) + newline + last.replace(mark[0], other)


def _tilde_fences(passage: Passage) -> str:
    return passage.replace(FENCED, _other_fence, ((0, len(passage.text)),))


SHIFTS = {
    "strip-markdown": Shift(
        "without headings, bullets, bold and italic marks, and quotes of Markdown",
        edits(STRIPPED, _stripped),
    ),
    "add-markdown": Shift(
        "the first words of every paragraph in bold",
        edits(
            r"^[^\W\d_]+(?: [^\W\d_]+){0,2}\b(?![\w*'’])",
            lambda match, draw: f"**{match.group()}**",
        ),
    ),
    "bullets-to-prose": Shift("lists as sentences with semicolons", _bullets_to_prose),
    "prose-to-bullets": Shift("the sentences of a paragraph as a list", _prose_to_bullets),
    "quotes": Shift(
        "the whole text in quotation marks", of_prose(lambda passage: f'"{passage.text}"')
    ),
    "fence-code": Shift("bare Python code in a fence of Markdown", _fence_code),
    "tilde-fences": Shift("fences of tildes instead of backticks, and back", _tilde_fences),
}
