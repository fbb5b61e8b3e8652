"""Runs that are killed with SIGKILL, at random moments and at every write, and resumed."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from command_line import run_until
from processes import Started, start
from toy import configure, flags, result, several_rows, write_rows

from rewardgap import cli
from rewardgap.configs.training import TrainConfig
from rewardgap.io import cache as notes
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train


def started(forks, config: TrainConfig, writes: int | None = None) -> Started:
    words = [*flags(config), "--resume"]
    return start(forks, Path(f"{config.out}.printed"), run_until, words, writes)


@pytest.fixture
def setting(folders: Callable[..., Path], tmp_path: Path) -> Callable[..., TrainConfig]:
    data = write_rows(tmp_path / "several.jsonl", several_rows(8))

    def configuration(out: str, **changes: object) -> TrainConfig:
        settings: dict[str, object] = {
            "train": data,
            "out": str(tmp_path / out),
            "batch_size": 5,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup_steps": 2,
            "eval_steps": 4,
        }
        return configure(tmp_path, folders("qwen2"), **settings | changes)

    return configuration


@pytest.mark.parametrize(("kind", "every"), [("explicit", 1), ("implicit", 3)])
def test_killed_at_random_moments(kind, every, setting, forks, tmp_path):
    changes = {"kind": kind, "checkpoint_steps": every, "epochs": 4, "keep_best": "test"}
    expected = result(Run(train(setting("whole", **changes))))
    config = setting("killed", **changes)
    random = np.random.default_rng(every)
    run, began = started(forks, config), time.monotonic()
    while not list(Path(config.out).glob("checkpoints/step-*")):
        assert run.process.exitcode is None, run.stderr
        time.sleep(0.002)
    patience = time.monotonic() - began
    while run.process.exitcode is None:
        run.process.kill()
        run.process.join()
        run = started(forks, config)
        run.process.join(random.uniform(0.3, 1.5) * patience)
        patience *= 1.1  # on a machine that has become slow it ends all the same
    assert run.process.exitcode == 0, run.stderr
    assert result(Run(Path(config.out))) == expected
    assert not list(Path(config.out).rglob(".*"))


def test_killed_at_every_write(setting, forks, tmp_path):
    """The configuration, the reference's cache, the log, checkpoints, the model, the scores."""
    changes = {"kind": "implicit", "checkpoint_steps": 2, "epochs": 1, "eval_steps": 0}
    expected = result(Run(train(setting("whole", **changes))))
    for writes in count():
        out = f"killed-{writes}"
        config = setting(out, **changes, cache=str(tmp_path / out / ".cache"))
        run = started(forks, config, writes)
        if run.end() == 0:
            break
        assert run.end() == -signal.SIGKILL, run.stderr
        assert result(Run(train(replace(config, resume=True)))) == expected
        assert not list(Path(config.out).rglob("*.unfinished"))
    assert writes >= 10


def test_the_cache_may_lie_in_the_folder_of_the_run(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "SETTLED", -1.0)  # what is noted of the data comes first
    run = Run(train(setting("out", cache=str(tmp_path / "out" / ".cache"))))
    assert list((run.folder / ".cache" / "hashes").iterdir()) and run.metrics.exists()


def test_a_finished_run_is_left_as_it_is(setting):
    config = setting("out")
    run = Run(train(config))
    stamps = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    assert cli.main([*flags(config), "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == stamps


def test_a_run_without_its_scores_is_measured_again(setting):
    config = setting("out")
    run = Run(train(config))
    expected = result(run)
    run.metrics.unlink()
    run.scores("test").unlink()
    assert cli.main([*flags(config), "--resume"]) == 0
    assert result(run) == expected
