"""How the package hangs together: which way imports run, what needs torch, how large things are."""

import ast
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module

import numpy as np
from structure import MODULES, ROOMS, SOURCE, arrows, bindings, functions, lines, pronouns, room

import rewardgap

RANKS = {name: rank for rank, name in enumerate(ROOMS)}
LIGHT_ROOMS = {"errors", "configs", "io", "data", "evaluation", "reporting", "commands", "cli"}
LIGHT = sorted(
    ".".join(path.with_suffix("").parts)
    for path in MODULES
    if room(path) in LIGHT_ROOMS and path.name != "__init__.py"
)
"""Modules that do without torch and transformers."""

REGISTRIES = {
    *(".", "commands", "data/layouts", "data/shifts", "data/sources", "experiments/executors"),
    "models/kinds",
}
"""Folders whose `__init__.py` says something."""


def test_rooms_are_few():
    assert {room(path) for path in MODULES} - {"__init__"} == set(ROOMS)
    assert len(ROOMS) <= 22


def test_imports_run_one_way():
    assert not [arrow for arrow in arrows() if RANKS[arrow[1]] >= RANKS[arrow[0]]]
    assert len(arrows()) <= 130


def test_a_part_is_imported_without_the_whole():
    talking = {
        path.parent.as_posix()
        for path, tree in MODULES.items()
        if path.name == "__init__.py" and tree.body
    }
    assert talking <= REGISTRIES


def test_the_package_is_small():
    assert lines().total() <= 38_500


def test_files_and_functions_are_small():
    for path in MODULES:
        assert len((SOURCE / path).read_text().splitlines()) <= 400, path
    lengths = [length for *_, length in functions()]
    assert np.median(lengths) <= 10 and np.percentile(lengths, 90) <= 30
    assert not [(path, name) for path, name, length in functions() if length > 55]


def test_no_pronoun_is_a_name():
    total = sum(1 for tree in MODULES.values() for _ in bindings(tree))
    assert sum(sum(counter.values()) for counter in pronouns().values()) < 0.005 * total, pronouns()


def test_one_name_one_class():
    names = Counter(
        node.name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in names.items() if count > 1]


def test_help_and_whatever_needs_no_model_do_without_torch():
    script = f"""
import contextlib, io, sys
from importlib import import_module
import rewardgap
heavy = []
def look(what):
    if {{"torch", "transformers"}} & set(sys.modules) and not heavy:
        heavy.append(what)
look("rewardgap")
for name in {LIGHT}:
    import_module("rewardgap." + name)
    look(name)
from rewardgap.cli import main
from rewardgap.commands import COMMANDS
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
    for command in COMMANDS:
        with contextlib.suppress(SystemExit):
            main([command, "--help"])
        look(command + " --help")
print(heavy)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_public_names_are_functions_and_classes():
    """Not modules of these names, whatever was imported before."""
    for path in MODULES:
        if path.name != "__main__.py":
            import_module("rewardgap." + ".".join(path.with_suffix("").parts))
    names: dict[str, object] = {}
    exec("from rewardgap import *", names)
    assert {name for name in rewardgap.__all__ if not name.startswith("_")} <= names.keys()
    for name in rewardgap.__all__:
        assert callable(getattr(rewardgap, name)), name


def test_a_kind_is_an_object_and_no_string_to_compare():
    for path in MODULES:
        assert not re.search(r"\bkind\s*[!=]=", (SOURCE / path).read_text()), path


def test_contributing_lists_every_module_by_its_docstring():
    pages = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path, tree in MODULES.items():
        if path.name != "__init__.py":
            summary = (ast.get_docstring(tree) or "").splitlines()[0].removesuffix(".")
            assert re.search(rf"^ +{path.name} +{re.escape(summary)}$", pages, re.MULTILINE), path
