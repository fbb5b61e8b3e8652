"""How the package hangs together: which way imports run, what needs torch, how large things are."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rewardgap

SOURCE = Path(rewardgap.__file__).parent
MODULES = {path.relative_to(SOURCE): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}

# The rooms, bottom up: a room imports from those before it in this list alone.
ROOMS = (
    *("errors", "configs", "io", "data", "evaluation", "models", "scoring", "dynamics", "training"),
    *("testing", "forecasting", "explaining", "reporting", "experiments", "demonstration", "cli"),
)
RANKS = {room: rank for rank, room in enumerate(ROOMS)}
LIGHT_ROOMS = ("errors", "configs", "io", "data", "evaluation", "reporting", "cli")

LIGHT = sorted(
    ".".join(path.with_suffix("").parts)
    for path in MODULES
    if path.parts[0].removesuffix(".py") in LIGHT_ROOMS and path.name != "__init__.py"
)
"""Modules that do without torch."""


def room(path: Path) -> str:
    """The room of a file: a folder of the package, or a module beside the folders."""
    return path.parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Names in the package that a module imports from, inside functions too."""
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
    """Every room with every other room that it imports from; the public names are no arrows."""
    return {
        (room(path), name)
        for path, tree in MODULES.items()
        for name in imported(tree)
        if path != Path("__init__.py") and name != room(path)
    }


def test_rooms_are_few():
    assert {room(path) for path in MODULES} - {"__init__"} == set(ROOMS)
    assert len(ROOMS) <= 18


def test_imports_run_one_way():
    assert not [arrow for arrow in arrows() if RANKS[arrow[1]] >= RANKS[arrow[0]]]
    assert len(arrows()) <= 95


def test_a_part_is_imported_without_the_whole():
    """Only registries say something when a folder is imported."""
    talking = [
        path.parent.as_posix()
        for path, tree in MODULES.items()
        if path.name == "__init__.py" and tree.body
    ]
    assert set(talking) <= {".", "data/sources", "models/kinds", "reporting/paper"} | {
        "demonstration",
    }


@pytest.fixture(scope="module")
def fresh() -> dict[str, list[str]]:
    """What a fresh interpreter says of torch and of the public names."""
    script = f"""
import contextlib, io, json, sys
from importlib import import_module
import rewardgap
heavy = []
def look(what):
    if "torch" in sys.modules and not heavy:
        heavy.append(what)
look("rewardgap")
for name in {LIGHT}:
    import_module("rewardgap." + name)
    look(name)
from rewardgap.cli import COMMANDS, main
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
    for command in COMMANDS:
        with contextlib.suppress(SystemExit):
            main([command, "--help"])
        look(command + " --help")
rewardgap.load
from rewardgap import *
found = [name for name in rewardgap.__all__ if not callable(getattr(rewardgap, name))]
print(json.dumps({{"heavy": heavy, "not callable": found}}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_help_and_whatever_needs_no_model_do_without_torch(fresh):
    assert fresh["heavy"] == []


def test_public_names_are_functions_and_classes(fresh):
    """Not the modules `train` and `score`, whatever was imported before."""
    assert fresh["not callable"] == []


def test_files_and_functions_are_small():
    for path, tree in MODULES.items():
        assert len((SOURCE / path).read_text().splitlines()) <= 400, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_a_kind_is_an_object_and_no_string_to_compare():
    for path in MODULES:
        assert not re.search(r"\bkind\s*[!=]=", (SOURCE / path).read_text()), path
