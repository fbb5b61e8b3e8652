"""Shifts of Python code which leave what it does: names, comments, white space, form."""

import ast
import builtins
import keyword
import re
import tokenize
from collections.abc import Iterator
from itertools import count

from rewardgap.data.shifts.code_blocks import Code, find_python, parse
from rewardgap.data.shifts.python_code import Names, rewriting, tokens
from rewardgap.data.shifts.shift import RESPONSES, Passage, Shift

DIRECTIVE = re.compile(r"#\s*(?:!|type:|noqa|pragma|pylint|mypy|fmt:|.*coding[:=])")
BY_NAME = {"locals", "globals", "vars", "eval", "exec", "dir", "getattr", "setattr", "hasattr"}
"""Functions that find variables by name."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LAYOUT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.ENDMARKER)
REMARKS: dict[type, tuple[str, ...]] = {
    ast.For: ("loop over the items", "go through all of them"),
    ast.While: ("repeat while it holds", "loop"),
    ast.If: ("check the condition", "which case is it"),
    ast.Return: ("return the result", "hand back the result"),
    ast.Assign: ("set the value", "keep this for later"),
    ast.AugAssign: ("update the value", "change it in place"),
    ast.FunctionDef: ("define the function", "a function"),
    ast.ClassDef: ("define the class", "a class"),
    ast.Import: ("import what is needed", "modules"),
    ast.Expr: ("call it", "next step"),
}
UNRELATED = (
    "def describe_weather(degrees):\n    return 'cold' if degrees < 10 else 'warm'\n",
    "def count_vowels(sentence):\n    return sum(letter in 'aeiou' for letter in sentence)\n",
)


def _remove_comments(code: Code, passage: Passage) -> tuple[str, Names]:
    lines = code.source.split("\n")
    for token in reversed(list(tokens(code.source))):
        if token.type != tokenize.COMMENT or DIRECTIVE.match(token.string) or not passage.hit():
            continue
        row, column = token.start
        before = lines[row - 1][:column].rstrip()
        lines[row - 1 : row] = [before] if before else []
    return "\n".join(lines), {}


def _add_comments(code: Code, passage: Passage) -> tuple[str, Names]:
    lines = code.source.split("\n")
    first = code.header.count("\n") + 1
    statements = {node.lineno: node for node in ast.walk(code.tree) if isinstance(node, ast.stmt)}
    for row in sorted(statements, reverse=True):
        node, line = statements[row], lines[row - 1]
        indent = line[: len(line) - len(line.lstrip())]
        remarks = REMARKS.get(type(node))
        if remarks and row >= first and node.col_offset == len(indent) and passage.hit():
            lines.insert(row - 1, f"{indent}# {passage.draw.choice(remarks)}")
    return "\n".join(lines), {}


def _minify(code: Code, passage: Passage) -> tuple[str, Names]:
    """Return code with indents of one space, without comments and blank lines."""
    if not passage.hit():
        return code.source, {}
    lines, depth, begins = code.source.split("\n"), 0, True
    indents: dict[int, int] = {}
    verbatim: set[int] = set()
    for token in tokens(code.source):
        depth += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        (row, column), (last, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif token.type == tokenize.NEWLINE:
            begins = True
        elif begins and token.type not in LAYOUT:
            indents[row], begins = depth, False
        verbatim.update(range(row + 1, last + 1))
    kept = [
        line if row in verbatim else " " * indents.get(row, 0) + line.strip(" \t")
        for row, line in enumerate(lines, 1)
        if row in verbatim or line.strip()
    ]
    return "\n".join(kept), {}


def _reformat(code: Code, passage: Passage) -> tuple[str, Names]:
    if not passage.hit():
        return code.source, {}
    return code.header + ast.unparse(code.tree).removeprefix(code.header).lstrip("\n"), {}


def _rename(code: Code, passage: Passage) -> tuple[str, Names]:
    around = passage.text[: code.start] + passage.text[code.stop :]
    kept = set(re.findall(r"\w+", f"{passage.prompt} {around}"))
    taken = kept.union(re.findall(r"\w+", code.source))
    fresh = (f"var{number}" for number in count(1) if f"var{number}" not in taken)
    found = dict.fromkeys(name for name in local_names(code.tree) if name not in kept)
    names = {name: next(fresh) for name in found if passage.hit()}
    lines = [line.encode() for line in code.source.split("\n")]
    for name, row, column in sorted(_places(code.tree, names), key=lambda place: place[1:])[::-1]:
        line = lines[row - 1]
        end = column + len(name.encode())
        lines[row - 1] = line[:column] + names[name].encode() + line[end:]
    return b"\n".join(lines).decode(), names


def _places(tree: ast.Module, names: Names) -> Iterator[tuple[str, int, int]]:
    """Yield every place of names: the name, its line, and its column in bytes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            yield node.id, node.lineno, node.col_offset
        elif isinstance(node, ast.arg) and node.arg in names:
            yield node.arg, node.lineno, node.col_offset


def local_names(tree: ast.Module) -> list[str]:
    """Return the variables and arguments that can be renamed, in the order in which they are set.

    Left alone is whatever something else may know by its name: functions, attributes, imports,
    keywords, names in f-strings and texts, and what is read before it is set.
    """
    known = _known_names(tree)
    names: dict[str, bool] = {}
    for node in _in_order(tree):
        if isinstance(node, ast.arg):
            names.setdefault(node.arg, True)
        elif isinstance(node, ast.Name):
            names.setdefault(node.id, isinstance(node.ctx, ast.Store))
    if BY_NAME & names.keys():
        return []
    return [name for name, is_set in names.items() if is_set and name not in known]


def _known_names(tree: ast.Module) -> set[str]:
    known = {*dir(builtins), *keyword.kwlist, *keyword.softkwlist, "self", "cls"}
    for node in ast.walk(tree):
        match node:
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                known.update(names)
            case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                known.add(name)
            case ast.alias(name=name, asname=asname):
                known.update({name.partition(".")[0], asname or name})
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                known.add(name)
            case ast.ClassDef(name=name, body=body):
                attributes = (part for part in body if not isinstance(part, FUNCTIONS))
                known.update({name, *_names(*attributes)})
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                known.add(name)
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                known.add(name)
            case ast.JoinedStr():
                known.update(_names(node))
    return known | {name for name in _names(tree) if name.startswith("_")}


def _names(*nodes: ast.AST) -> Iterator[str]:
    """Yield the variables and arguments in nodes."""
    for node in nodes:
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                yield part.id
            elif isinstance(part, ast.arg):
                yield part.arg


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes in the order in which they are computed: what is assigned before its target."""
    yield node
    fields = [field for field in node._fields if hasattr(node, field)]
    for field in sorted(fields, key=lambda field: ORDER.get(field, 1)):
        value = getattr(node, field)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _in_order(child)


ORDER = {"generators": 0, "iter": 0, "value": 0, "context_expr": 0}
"""Fields of syntax trees that are computed first; all others in their order."""


def _append_code(passage: Passage) -> str:
    """Put a function that nothing calls behind the last code of a text."""
    codes = find_python(passage.text)
    if not codes or not passage.hit():
        return passage.text
    code = codes[-1]
    new = f"{code.text.rstrip()}\n\n\n{passage.draw.choice(UNRELATED)}"
    if parse(code.header + new) is None:
        return passage.text
    return passage.text[: code.start] + new + passage.text[code.stop :]


SHIFTS = {
    "rename-identifiers": Shift(
        "variables of Python code as var1, var2, …, but for names in the prompt or the text",
        rewriting(_rename),
        sides=RESPONSES,
    ),
    "remove-comments": Shift("Python code without its comments", rewriting(_remove_comments)),
    "add-comments": Shift(
        "comments before lines of Python code, that say what the line is",
        rewriting(_add_comments),
        rate=0.3,
    ),
    "minify-code": Shift(
        "Python code indented by one space, without comments and blank lines", rewriting(_minify)
    ),
    "reformat-code": Shift(
        "Python code as `ast` writes it: one form of quotes, no comments", rewriting(_reformat)
    ),
    "append-code": Shift(
        "a function that nothing calls behind Python code",
        _append_code,
        keeps="ranking",
        sides=RESPONSES,
    ),
}
