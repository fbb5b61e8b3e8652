"""Rewriting of Python code in a text, which leaves what the code does.

What does not parse is no code to these shifts, and stays.
"""

import ast
import tokenize
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import TypeAlias

from rewardgap.data.shifts.code_blocks import PARSE_ERRORS, Code, find_python, parse
from rewardgap.data.shifts.shift import Passage

TOKEN_ERRORS = (tokenize.TokenError, SyntaxError)

Names: TypeAlias = Mapping[str, str]
"""New names by old ones."""
Rewrite: TypeAlias = Callable[[Code, Passage], tuple[str, Names]]
"""Returns the new source of code, and the names that it changes."""


class _Renamed(ast.NodeTransformer):
    """Gives variables and arguments new names."""

    def __init__(self, names: Names):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:  # the name that `ast` looks for
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        self.generic_visit(node)
        return ast.arg(self.names.get(node.arg, node.arg), node.annotation, node.type_comment)


def _dump(tree: ast.Module, names: Names) -> str:
    return ast.dump(_Renamed(names).visit(tree))


def rewriting(rewrite: Rewrite) -> Callable[[Passage], str]:
    """Return a shift of all Python code in a text; code stays if its syntax tree would change."""

    def apply(passage: Passage) -> str:
        parts, end = [], 0
        for code in find_python(passage.text):
            parts += [passage.text[end : code.start], _rewritten(code, passage, rewrite)]
            end = code.stop
        return "".join([*parts, passage.text[end:]])

    return apply


def _rewritten(code: Code, passage: Passage, rewrite: Rewrite) -> str:
    try:
        source, names = rewrite(code, passage)
    except (*TOKEN_ERRORS, *PARSE_ERRORS):
        return code.text
    if source == code.source or not source.startswith(code.header):
        return code.text
    tree, before = parse(source), parse(code.source)
    if tree is None or before is None or _dump(tree, {}) != _dump(before, names):
        return code.text
    new = source[len(code.header) :]
    return new if new.endswith("\n") or not code.text.endswith("\n") else new + "\n"


def tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens of code; rows begin at 1, columns at 0.

    Raises:
        TokenError, SyntaxError: It cannot be read.
    """
    return tokenize.generate_tokens(StringIO(source, newline="\n").readline)
