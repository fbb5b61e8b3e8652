"""What the command line says of itself."""

import dataclasses
import re
from importlib import import_module

import pytest

from rewardgap.cli import COMMANDS, main
from rewardgap.models.kinds import KINDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_key_with_a_word_of_explanation(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    module, _, name = COMMANDS[command].config.partition(":")
    for field in dataclasses.fields(getattr(import_module(module, "rewardgap"), name)):
        found = re.search(rf"^  --{field.name} \S+(.*?)\(", text, re.MULTILINE | re.DOTALL)
        assert found and len(found[1].split()) >= 2, field.name


def test_the_overview_names_commands_and_kinds(capsys):
    for words in (["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in (*COMMANDS, *KINDS))
    assert main([]) == 2
    assert capsys.readouterr() == ("", text)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rewardgap ")
