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

# A module imports from layers above it in this list alone; a package is one name.
LAYERS = (
    {"errors", "progress", "losses", "dynamics", "steps"},
    {"storage", "records", "bootstrap", "devices", "models", "flags", "separator", "kernels"},
    {"notes"},
    {"configs", "scores", "runs", "sources", "bag_of_words", "trees", "checkpoints", "ragged"},
    {"measures", "model_card", "documents", "template", "attention", "tree_store", "theorems"},
    {"statistics", "style_grid", "backbone"},
    {"metrics_table", "twins", "win_rates", "kinds"},
    {"reporting"},
    {"reference", "saved", "shared"},
    {"scoring"},
    {"fit"},
    {"training", "pretraining", "forecasting", "explaining", "displacement"},
    {"demonstration", "experiments"},
    {"cli"},
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

WITHOUT_TORCH = (
    *("errors", "progress", "storage", "records", "sources", "configs", "runs", "scores"),
    *("bag_of_words", "measures", "statistics", "metrics_table", "bootstrap"),
    *("twins", "win_rates", "style_grid", "kinds", "flags", "model_card", "reporting", "cli"),
)


def top(path: Path) -> str:
    """The name in the package that a file belongs to."""
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


def test_every_module_has_a_layer():
    assert {top(path) for path in MODULES} - {"__init__"} <= RANKS.keys()


@pytest.mark.parametrize("path", sorted(MODULES), ids=str)
def test_imports_run_one_way(path):
    if path.name == "__init__.py" and len(path.parts) == 1:
        return  # its names are imported when they are first used
    own = top(path)
    upward = {name for name in imported(MODULES[path]) if name != own and RANKS[name] >= RANKS[own]}
    assert not upward


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
for name in {WITHOUT_TORCH}:
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
