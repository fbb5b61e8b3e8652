"""Finished files in which a digit has changed: computed again or refused, never kept."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from toy import configure, result

import rewardgap
from rewardgap import cli
from rewardgap.configs.experiments import ReportConfig
from rewardgap.configs.scoring import MetricsConfig, ScoreConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.table import metrics
from rewardgap.io.files import CHECKSUMS
from rewardgap.io.run_folder import Run
from rewardgap.reporting.paper import saving
from rewardgap.reporting.report import report
from rewardgap.scoring.score import score
from rewardgap.training.train import train

WEIGHTS = "reward_model/model.safetensors"
REFUSED = ("log.jsonl", WEIGHTS, "reward_model/rewardgap.json", "reward_model/config.json")
REBUILT = ("metrics.json", "scores/test.jsonl", "reward_model/README.md")


@pytest.fixture
def config(folders: Callable[..., Path], tmp_path: Path) -> TrainConfig:
    return configure(tmp_path, folders("llama"), epochs=1, checkpoint_steps=2)


@pytest.fixture
def run(config: TrainConfig) -> Run:
    return Run(train(config))


def change_digit(path: Path) -> None:
    """Change the last digit of a file, or a byte of weights, and leave it well formed."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".safetensors":
        content[-2] ^= 1
    else:
        places = [match.start() for match in re.finditer(rb"\d", content)]
        content[places[-1]] = ord("1") if content[places[-1]] != ord("1") else ord("2")
    path.write_bytes(content)


def files(run: Run) -> dict[str, bytes]:
    paths = (path for path in run.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", REBUILT)
def test_what_can_be_computed_again_is(name, config, run, caplog):
    before = files(run)
    change_digit(run.folder / name)
    train(replace(config, resume=True))
    assert files(run) == before
    assert f"{run.folder / name} is damaged or gone: the run is measured again" in caplog.text


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_measured", [True, False])
def test_what_training_wrote_is_refused_and_made_again_by_the_remedy(
    name, is_measured, config, run
):
    before = result(run)
    change_digit(run.folder / name)
    if not is_measured:
        run.metrics.unlink()
    with pytest.raises(UserError, match=re.escape(f"{run.folder / name} is not what was")) as error:
        train(replace(config, resume=True))
    assert "\n" not in str(error.value) and f"remove {run.reward_model} to train" in str(
        error.value
    )
    shutil.rmtree(run.reward_model)
    train(replace(config, resume=True))
    assert result(run) == before
    run.check_trained()


@pytest.mark.parametrize("name", REFUSED[1:])
def test_a_changed_model_does_not_score(name, config, run, tmp_path):
    change_digit(run.folder / name)
    for call in (
        lambda: rewardgap.load(str(run.folder)),
        lambda: rewardgap.load(str(run.reward_model)),
        lambda: score(
            ScoreConfig(model=str(run.folder), data=config.train, out=str(tmp_path / "s"))
        ),
    ):
        with pytest.raises(UserError, match=rf"{name} is not what was written.*; .*{CHECKSUMS}$"):
            call()
    (run.reward_model / CHECKSUMS).unlink()
    if name != "reward_model/config.json":  # it gives the weights another shape
        rewardgap.load(str(run.folder)).score("hi", ["yes"])


@pytest.mark.parametrize("name", ["log.jsonl", *REBUILT])
def test_a_report_refuses_changed_results(name, run, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "FORMATS", ("svg",))
    settings = ReportConfig(folders=[str(run.folder)], out=str(tmp_path / "report"))
    report(settings)
    change_digit(run.folder / name)
    with pytest.raises(UserError, match=rf"{name} is not what was written"):
        report(settings)
    (run.folder / CHECKSUMS).unlink()
    report(settings)


def test_metrics_refuses_changed_scores(run, tmp_path):
    path = run.scores("test")
    copied = Path(shutil.copy(path, tmp_path / "copied.jsonl"))
    metrics(MetricsConfig(scores=[str(path)]))
    change_digit(path)
    with pytest.raises(UserError, match=r"test.jsonl is not what was written"):
        metrics(MetricsConfig(scores=[str(path)]))
    change_digit(copied)
    metrics(MetricsConfig(scores=[str(copied)]))


def test_a_run_without_checksums_goes_on_as_before(config, run):
    (run.folder / CHECKSUMS).unlink()
    (run.reward_model / CHECKSUMS).unlink()
    change_digit(run.scores("test"))
    before = files(run)
    train(replace(config, resume=True))
    assert files(run) == before


@pytest.mark.parametrize("name", [CHECKSUMS, f"reward_model/{CHECKSUMS}"])
def test_a_changed_checksum_keeps_nothing_in_silence(name, config, run, caplog):
    change_digit(run.folder / name)
    try:
        train(replace(config, resume=True))
        assert "is measured again" in caplog.text
    except UserError as error:
        assert "is not what was written" in str(error)
    (run.folder / name).write_text("{")
    assert cli.main(["score", "--model", str(run.folder), "--data", config.train]) == 2
    with pytest.raises(UserError, match=f"{CHECKSUMS}"):
        train(replace(config, resume=True))


@pytest.mark.parametrize("name", REBUILT)
def test_killed_between_any_two_writes_while_it_is_measured_again(name, config, run, monkeypatch):
    """Stopped before each rename and removal in turn; what is left is never taken for whole."""
    before = files(run)
    for steps in range(20):
        change_digit(run.folder / name)
        with monkeypatch.context() as patched:
            stop_after(steps, patched)
            try:
                train(replace(config, resume=True))
                break
            except Stopped:
                pass
        train(replace(config, resume=True))
        assert files(run) == before, steps
    assert steps >= 4 and files(run) == before


class Stopped(BaseException):
    """Stands for a kill."""


def stop_after(steps: int, patched: pytest.MonkeyPatch) -> None:
    """Stop at the rename or removal of a result that follows so many others."""
    done = 0

    def watched(change: Callable[..., object]) -> Callable[..., object]:
        def change_or_stop(path: Path, *arguments: object, **keywords: object) -> object:
            nonlocal done
            if ".lock" not in path.name and (path.exists() or not keywords):
                if done == steps:
                    raise Stopped
                done += 1
            return change(path, *arguments, **keywords)

        return change_or_stop

    patched.setattr(Path, "replace", watched(Path.replace))
    patched.setattr(Path, "unlink", watched(Path.unlink))


def test_checksums_hold_the_log_before_the_model_is_there(config, monkeypatch):
    """Killed between the two, the run has the log of the steps that are done again."""
    rename = Path.replace

    def die(path: Path, target: Path) -> Path:
        if Path(target).name == "reward_model":
            raise Stopped
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        with pytest.raises(Stopped):
            train(config)
    run = Run(Path(config.out))
    assert list(json.loads((run.folder / CHECKSUMS).read_text())["xxh3_128"]) == ["log.jsonl"]
    assert not run.reward_model.exists()
    change_digit(run.log)
    train(replace(config, resume=True))
    run.check_trained()
    run.check_results()
    assert not os.path.exists(run.folder / ".lock")
