"""What the command line says of itself."""

import dataclasses
import re
import shlex
from importlib import import_module

import pytest

from rewardgap.cli import main
from rewardgap.commands import COMMANDS
from rewardgap.configs.help import GROUPS
from rewardgap.models.kinds import KINDS


def configuration(command: str) -> type:
    module, _, name = COMMANDS[command].config.partition(":")
    return getattr(import_module(module, "rewardgap"), name)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_key_with_a_word_of_explanation(command, capsys):
    for words in ([command, "--help"], ["help", *command.split()], [command, "--out", "a", "-h"]):
        assert main(words) == 0
        text = capsys.readouterr().out
    for field in dataclasses.fields(configuration(command)):
        flag = re.escape(f"--{field.name.replace('_', '-')}")
        found = re.findall(rf"^  (?:[A-Z].*, )?{flag}\b(?!-).*\n?(?:   .*\n)*", text, re.MULTILINE)
        assert len(found) == 1 and len(found[0].split()) >= 4, field.name
    for flag in ("--config", "--quiet", "--verbose", "--log-every"):
        assert flag in text
    assert "Literal" not in text and "null" not in text and "=flags" not in text


def test_help_begins_with_what_is_needed(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    first = text.partition("\n")[0]
    assert first == (
        "usage: rewardgap train --model MODEL --kind KIND --train DATA --out PATH [--KEY VALUE ...]"
    )
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert titles == [
        *("example", "required", "data", "model", "optimiser", "adapter", "output"),
        *("compute", "every command"),
    ]
    assert re.search(r"  --epochs N +passes over the training data \(default: 5\)\n", text)
    assert main(["score", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: rewardgap score MODEL --data DATA --out PATH [--KEY VALUE ...]")
    assert "  MODEL, --model MODEL " in text
    assert main(["check", "data", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: rewardgap check data [DATA ...] [--KEY")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_every_command_can_be_typed(command, capsys, monkeypatch):
    seen = []
    module, _, name = COMMANDS[command].function.partition(":")
    monkeypatch.setattr(import_module(module, "rewardgap"), name, seen.append)
    told = dataclasses.replace(
        COMMANDS[command],
        check="builtins:repr",
        report=lambda config, result: "",
        status=lambda result: 0,
    )
    monkeypatch.setitem(COMMANDS, command, told)
    assert main([command, "--help"]) == 0
    example = capsys.readouterr().out.partition("example:\n")[2].partition("\n\n")[0]
    program, *words = shlex.split(example.replace("\\\n", ""))
    assert program == "rewardgap" and main(words) == 0
    assert isinstance(seen[0], configuration(command))


def test_every_key_in_a_group_is_one_of_a_command():
    keys = {field.name for name in COMMANDS for field in dataclasses.fields(configuration(name))}
    grouped = [name for names in GROUPS.values() for name in names]
    assert set(grouped) <= keys and len(set(grouped)) == len(grouped)


def test_the_overview_names_commands_and_kinds(capsys):
    for words in (["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in (*COMMANDS, *KINDS))
    assert main([]) == 2
    assert capsys.readouterr() == ("", text)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rewardgap ")
