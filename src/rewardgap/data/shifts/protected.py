"""What no shift of words may touch: code, LaTeX, addresses and whatever else is read as symbols."""

import re
from functools import lru_cache
from typing import TypeAlias

from rewardgap.data.shifts.code_blocks import FENCE, FENCED, find_python

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Parts of a text, from start to end, in order."""

MATH = (
    r"\$\$.{1,5000}?\$\$|\\\[.{1,5000}?\\\]|\\begin\{(\w+\*?)\}.{0,5000}?\\end\{\2\}",
    r"\\\(.+?\\\)|(?<![\\$\w])\$(?![\s$])[^$\n]*?(?<![\s\\])\$(?![\d$])",
    r"\\[A-Za-z]+\*?(?:\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\[[^\]\n]*\])*",
)
DOCTEST = r"^[ \t]*>>> .*?(?:\n[ \t]*$|\Z)"
TOKENS = (
    r"``[^\n]+?``|`[^`\n]+`",
    r"(?:https?|ftp)://[^\s<>\"]+|www\.[^\s<>\"]+",
    r"</?[A-Za-z!][^<>\n]*>|\{\{?[\w .]+\}?\}",
    r"(?<![\w.+-])[\w+-]+(?:\.[\w-]+)*@\w[\w.-]*|[@#]\w+",  # addresses, handles, tags
    r"(?<![\w./-])\w+(?:[/-]\w+)*(?:\.\w+)+(?:[/-]\w+)*|\b\w+\([^()\n]*\)",  # dotted names, calls
    r"(?<!\S)[~.]{0,2}/\w\S*|(?<!\S)--?\w[\w-]*",  # paths, flags
    r"(?<!\S)(?:[^\s*=^|<>+]{1,40}[=^|<>+]\S*|[=^|<>+]\S+)",  # formulas without marks
)
BLOCKS = re.compile("|".join((FENCE, MATH[0], DOCTEST)), re.MULTILINE | re.DOTALL)
INLINE = re.compile("|".join((*MATH[1:], *TOKENS)), re.MULTILINE)
PARAGRAPH = re.compile(r"\S.*(?:\n[ \t]*\S.*)*")
CODE_LINE = re.compile(
    r".*[;{}]|(?:def|class|for|while|if|elif|with|except|func|fn)\b.*[:{]|else:|try:"
    r"|(?:return|import|from \S+ import|let|const|var|public|private|#include|using|package)\b.*"
    r"|[\w.\[\]]+ [-+*/]?= .+|[\w.]+\(.*\)|[)\]]+,?|//.*|@\w+.*"
    r"|[(\[{'\"].*[,)\]]|\.\w+.*|.*(?:&&|\|\||[!=]=|[-=]>|::).*"
)


@lru_cache(maxsize=64)
def prose_spans(text: str) -> Spans:
    """Return the parts of a text outside of blocks of code and mathematics, fenced or bare."""
    if any(code.text == text for code in find_python(text)) or _is_bare_code(text):
        return ()
    blocks = [match.span() for match in BLOCKS.finditer(text)]
    for start, stop in _between(blocks, len(text)):
        for match in PARAGRAPH.finditer(text, start, stop):
            if _is_code(match.group().split("\n")):
                blocks.append(match.span())
    return _between(sorted(blocks), len(text))


@lru_cache(maxsize=64)
def free_spans(text: str) -> Spans:
    """Return the parts of a text whose words may be changed."""
    spans: list[tuple[int, int]] = []
    for start, stop in prose_spans(text):
        kept = [match.span() for match in INLINE.finditer(text, start, stop)]
        spans += _between(kept, stop, start)
    return tuple(spans)


def _is_bare_code(text: str) -> bool:
    """Return whether a text without fences begins as code, and half of it looks like that."""
    lines = [line for line in text.split("\n") if line.strip()]
    begins = lines and (lines[0][0].isspace() or _is_code_line(lines[0]))
    return bool(begins) and not FENCED.search(text) and _is_code(lines)


def _is_code(lines: list[str]) -> bool:
    """Return whether half of the lines look like code; a single one is a call in a sentence."""
    return len(lines) > 1 and 2 * sum(_is_code_line(line) for line in lines) >= len(lines)


def _is_code_line(line: str) -> bool:
    return CODE_LINE.fullmatch(line.strip()) is not None


def _between(spans: list[tuple[int, int]], end: int, start: int = 0) -> Spans:
    """Return what is left between spans."""
    edges = [start, *(edge for span in spans for edge in span), end]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((a, b) for a, b in pairs if a < b)
