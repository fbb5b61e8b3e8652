"""The structure of the package as its syntax trees tell it: rooms, arrows, names, functions.

`make rooms` prints it.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import rewardgap

SOURCE = Path(rewardgap.__file__).parent
MODULES = {path.relative_to(SOURCE): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}

# The rooms, bottom up: a room imports from those before it in this list alone.
ROOMS = (
    *("errors", "configs", "io", "data", "evaluation", "models", "scoring", "rewriting"),
    *("serving", "checks", "dynamics", "training", "testing", "reporting"),
    *("forecasting", "explaining", "perturbing", "experiments", "planning", "demonstration"),
    *("commands", "cli"),
)
PRONOUNS = (
    *("each", "found", "some", "own", "told", "wanted", "what", "others"),
    *("both", "this", "that", "these", "those", "it", "them", "they"),
    *("which", "who", "one", "ones", "such", "something", "anything", "everything"),
)


def room(path: Path) -> str:
    """Return the room of a file: a folder of the package, or a module beside the folders."""
    return path.parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the rooms that a module imports from, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("rewardgap."))


def arrows() -> set[tuple[str, str]]:
    """Return every room with every other room that it imports from."""
    return {
        (room(path), name)
        for path, tree in MODULES.items()
        for name in imported(tree)
        if path != Path("__init__.py") and name != room(path)
    }


def bindings(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module gives to something, as often as it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def pronouns() -> dict[Path, Counter[str]]:
    """Return the pronouns that serve as names, by file."""
    counts = {
        path: Counter(name for name in bindings(tree) if name.strip("_") in PRONOUNS)
        for path, tree in MODULES.items()
    }
    return {path: counter for path, counter in counts.items() if counter}


def functions() -> Iterator[tuple[Path, str, int]]:
    """Yield every function with its file and its number of lines."""
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield path, node.name, node.end_lineno - node.lineno + 1


def lines() -> Counter[str]:
    """Return the lines of Python by room."""
    counts: Counter[str] = Counter()
    for path in MODULES:
        counts[room(path)] += len((SOURCE / path).read_text().splitlines())
    return counts


def describe() -> str:
    """Return the figures as text."""
    lengths = [length for *_, length in functions()]
    pairs, sizes = arrows(), lines()
    names = sum(1 for tree in MODULES.values() for _ in bindings(tree))
    share = sum(sum(counter.values()) for counter in pronouns().values()) / names
    rooms = [
        f"{name:<14}{sizes[name]:>6}  " + ", ".join(sorted(b for a, b in pairs if a == name))
        for name in ROOMS
    ]
    return "\n".join(
        [
            "room           lines  imports",
            *rooms,
            "",
            f"rooms {len(ROOMS)}, arrows {len(pairs)}, files {len(MODULES)}, lines {sizes.total()}",
            f"functions {len(lengths)}: median {np.median(lengths):.0f} lines, 90th percentile "
            f"{np.percentile(lengths, 90):.0f}, longest {max(lengths)}",
            f"pronouns among {names} names: {share:.2%}",
        ]
    )


if __name__ == "__main__":
    print(describe())
