"""Python code in a text: where it is, and whether it parses.

Code is the content of a fence, or a text without fences. It may be the indented body of a function.
"""

import ast
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

FENCE = r"^[ \t>]*(`{3,}|~{3,})[^\n]*(?:\n.*?)??(?:\n[ \t>]*\1[`~]*[ \t]*$|\Z)"
FENCED = re.compile(FENCE, re.MULTILINE | re.DOTALL)
LANGUAGES = {"", "python", "py", "python3", "py3"}
SIGNS = re.compile(r"[=(]|\b(?:import|return|def|class)\b")
PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
HEADER = "def _():\n"
"""What stands before the body of a function, so that it parses."""


@dataclass(frozen=True)
class Code:
    """Python code in a text.

    Attributes:
        start: Where it begins.
        text: The code.
        source: The code, after `HEADER` if it is a body.
        tree: Its syntax tree.
    """

    start: int
    text: str
    source: str
    tree: ast.Module

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)

    @property
    def header(self) -> str:
        """What `source` has before the code."""
        return self.source[: len(self.source) - len(self.text)]


@lru_cache(maxsize=64)
def find_python(text: str) -> tuple[Code, ...]:
    """Return the Python code in a text, in order."""
    fences = list(FENCED.finditer(text))
    if not fences:
        code = _parse(0, text)
        return (code,) if code and _is_program(code) else ()
    return tuple(filter(None, map(_in_fence, fences)))


def _in_fence(match: re.Match[str]) -> Code | None:
    first, newline, rest = match.group().partition("\n")
    if not newline or first.strip(" \t>`~").lower() not in LANGUAGES or first.startswith(">"):
        return None
    closed = rest.rpartition("\n")[2].strip(" \t").startswith(match[1])
    code = rest.rpartition("\n")[0] + "\n" if closed and "\n" in rest else rest
    return None if closed and "\n" not in rest else _parse(match.start() + len(first) + 1, code)


def _parse(start: int, text: str) -> Code | None:
    if not SIGNS.search(text) or "\r" in text or "\f" in text:
        return None
    sources = (HEADER + text,) if text.lstrip("\n")[:1] in (" ", "\t") else (text, HEADER + text)
    for source in sources:
        if tree := parse(source):
            return Code(start, text, source, tree)
    return None


def parse(source: str) -> ast.Module | None:
    """Return the syntax tree of code that also compiles; None if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
            compile(tree, "<code>", "exec", dont_inherit=True)
        except PARSE_ERRORS:
            return None
    return tree


def _is_program(code: Code) -> bool:
    """Return whether code is more than an expression, which a sentence may be too."""
    first: Any = code.tree.body[0]
    body = first.body if code.header else code.tree.body
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in body)
