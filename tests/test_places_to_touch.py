"""How many files a change touches: each test makes the change, in as many files as it says."""

from pathlib import Path

import pytest
from toy import pair_rows, write_rows

from rewardgap import cli
from rewardgap.configs.experiments import RunConfig
from rewardgap.data.load import load
from rewardgap.data.sources import SOURCES
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.run import run

SOURCE = '''
"""Sums: a source of data in one file."""

from rewardgap.data.spec import Source


def rows(part, *, size: int = 3):
    """Yield sums with a right and a wrong result."""
    for number in range(size):
        row = {"prompt": f"{number} + 1 =", "chosen": str(number + 1), "rejected": str(number)}
        yield f"sums:{part}, row {number + 1}", row


SOURCE = Source(rows, ("train", "test"))
'''
EXPERIMENT = """
name: sums
claim: Explicit models learn to count.
models: [{model}]
kinds: [explicit]
seeds: [0]
train: {{name: sums, data: {data}}}
eval: {{test: {{category: in-distribution, data: {data}}}}}
settings: {{epochs: 1, batch_size: 2, device: cpu}}
"""
CONFIG = '''
"""What the command can be told."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GreetConfig:
    """Greet somebody."""

    name: str
    """who is greeted"""
'''
COMMAND = '''
"""The command's function."""


def greet(config):
    """Return a greeting."""
    return f"Good day, {config.name}."
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_source_is_one_file(package, monkeypatch):
    (package / "sums_source.py").write_text(SOURCE)
    import sums_source

    monkeypatch.setitem(SOURCES, "sums", sums_source.SOURCE)
    records = load("sums:test?size=2")
    assert [record.chosen[0][0].content for record in records] == ["1", "2"]


def test_an_experiment_is_one_file(folders, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(4))
    path = tmp_path / "sums.yaml"
    path.write_text(EXPERIMENT.format(model=folders("llama"), data=data))
    config = RunConfig(experiment=str(path), out=str(tmp_path / "out"), dry_run=True)
    assert read_experiment(config).claim == "Explicit models learn to count."
    assert "1 of 1 to do" in run(config).table


def test_a_command_is_its_configuration_and_its_line(package, monkeypatch, capsys):
    (package / "greet_config.py").write_text(CONFIG)
    (package / "greet_command.py").write_text(COMMAND)
    command = cli.Command(
        "greet_command:greet",
        "greet_config:GreetConfig",
        lambda config, greeting: f"{greeting}\n",
    )
    monkeypatch.setitem(cli.COMMANDS, "greet", command)
    assert cli.main(["greet", "--name", "Ada"]) == 0
    assert capsys.readouterr().out == "Good day, Ada.\n"
    assert cli.main(["greet", "--nam", "Ada"]) == 2
    assert "the keys are name" in capsys.readouterr().err
