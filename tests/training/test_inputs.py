"""A run continues with the data, model and versions that it began with, or not at all."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy import configure, flags, pair_rows, result, write_rows

from rewardgap import cli
from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError
from rewardgap.io.lock import sole_process
from rewardgap.io.run_folder import Run
from rewardgap.training import inputs
from rewardgap.training.train import train


@pytest.fixture
def model(folders: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders("llama"), tmp_path / "model"))


@pytest.fixture
def config(model: Path, tmp_path: Path) -> TrainConfig:
    return configure(tmp_path, model, checkpoint_steps=4)


def interrupted(config: TrainConfig) -> Run:
    """A run that was killed after its second of two checkpoints and three steps."""
    run = Run(train(config))
    interrupt(run)
    return run


def interrupt(run: Run) -> None:
    run.metrics.unlink()
    for folder in ("scores", "reward_model"):
        shutil.rmtree(run.folder / folder)


def refusal(config: TrainConfig) -> str:
    with pytest.raises(UserError) as caught:
        train(replace(config, resume=True))
    return str(caught.value)


def swap(path: str) -> None:
    """Exchange chosen and rejected in a file."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for row in rows:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    write_rows(Path(path), rows)


def test_training_data_that_were_swapped_are_refused(config, capsys):
    run = interrupted(config)
    before = run.log.read_text()
    swap(config.train)
    assert cli.main([*flags(config), "--resume"]) == 2
    message = capsys.readouterr().err
    assert f"changed since the run in {run.folder} began: training data: {config.train};" in message
    assert run.log.read_text() == before and not run.reward_model.exists()
    swap(config.train)
    assert cli.main([*flags(config), "--resume"]) == 0


def test_one_of_several_training_files_is_named(config, tmp_path):
    other = write_rows(tmp_path / "other.jsonl", pair_rows(4, start=20))
    config = replace(config, train=[config.train, other])
    interrupted(config)
    swap(other)
    message = refusal(config)
    assert other in message and config.train[0] not in message


@pytest.mark.parametrize("finished", [True, False])
def test_evaluation_data_that_changed_are_refused_of_a_finished_run_too(finished, config):
    run = interrupted(config) if not finished else Run(train(config))
    swap(config.eval["test"])
    assert f"evaluation data: {config.eval['test']};" in refusal(config)
    assert run.metrics.exists() == finished


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_a_file_of_the_model_that_changed_is_named(name, config, model):
    interrupted(config)
    path = model / name
    content = path.read_bytes()
    path.write_bytes(content + b" " if name.endswith("json") else content[:-1] + b"\x40")
    assert f"model {model}: {name};" in refusal(config)


def test_a_finished_run_needs_its_initial_model_no_more(config, model):
    run = Run(train(config))
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    expected = result(run)
    assert Run(train(replace(config, resume=True))) == run and result(run) == expected


def test_another_version_is_refused_with_both_versions(config, monkeypatch):
    interrupted(config)
    usual = inputs.version
    monkeypatch.setattr(
        inputs, "version", lambda name: "9.9+cpu" if name == "torch" else usual(name)
    )
    was = usual("torch").partition("+")[0]
    assert f"version: torch (was {was}, is 9.9);" in refusal(config)


@pytest.mark.parametrize("text", [None, "", "[]", '{"version": 3}', "[" * 100_000])
def test_a_record_of_inputs_that_is_gone_or_damaged_is_refused(text, config):
    run = interrupted(config)
    run.inputs.unlink() if text is None else run.inputs.write_text(text)
    assert str(run.inputs) in refusal(config)


def test_a_run_that_failed_before_its_first_result_may_begin_with_other_data(config):
    run = interrupted(config)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    run.log.unlink()
    swap(config.train)
    train(config)
    assert run.metrics.exists()


def test_damaged_log_and_metrics_are_made_again(config):
    run = interrupted(config)
    kept = shutil.copytree(run.folder, run.folder.with_name("kept"))
    expected = result(Run(train(replace(config, resume=True))))
    shutil.rmtree(run.folder)
    kept.rename(run.folder)
    run.log.write_bytes(b"\xff" + run.log.read_bytes()[30:])
    assert result(Run(train(replace(config, resume=True)))) == expected
    run.metrics.write_text("{")
    assert result(Run(train(replace(config, resume=True)))) == expected


def test_two_processes_do_not_train_in_one_folder(config):
    with sole_process(Path(config.out)):
        assert "is at work in" in refusal(config)
    train(config)
