"""Training runs that cannot be: each is refused in one line, before anything is lost."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from toy import configure, pair_rows, read_rows, train_toy, write_rows

from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.training import trackers
from rewardgap.training import train as training


def refusal(config) -> str:
    with pytest.raises(UserError) as caught:
        training.train(config)
    return str(caught.value)


def test_a_tracker_that_is_not_installed_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    config = configure(tmp_path, model, report_to=["wandb"])
    assert "wandb is not installed" in refusal(config)
    assert not Path(config.out).exists()


def alike(count: int) -> list[dict[str, object]]:
    """Pairs that differ at the end of long responses alone."""
    long = "yes, the quick brown fox jumps over the lazy dog " * 4
    return [
        {"prompt": f"hi {i}", "chosen": long + "yes", "rejected": long + "no"} for i in range(count)
    ]


def test_pairs_that_truncation_makes_identical(model, tmp_path, caplog):
    data = write_rows(tmp_path / "alike.jsonl", pair_rows(4) + alike(2))
    config = configure(tmp_path, model, train=data, eval={}, max_length=40, epochs=1)
    assert "identical in 2 of 6 records" in refusal(config)
    dropping = replace(config, identical_pairs="drop")
    run = Run(training.train(dropping))
    assert "2 of 6 training records were truncated" in caplog.text
    assert "2 training records left out" in caplog.text
    assert len(read_rows(run.log)) == 1  # the four others are one step
    only = write_rows(tmp_path / "only.jsonl", alike(2))
    config = replace(dropping, train=only, out=str(tmp_path / "only"))
    assert "leaves no record to train on" in refusal(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "reads at most 512: set max_length to 512"),
        ({"max_length": 400, "token_budget": 300}, "token_budget 300 is smaller than record long"),
    ],
)
def test_an_evaluation_set_that_could_not_be_scored_is_refused_first(
    changes, message, model, tmp_path, monkeypatch
):
    row = {"id": "long", "prompt": "is it so? " * 300, "chosen": "yes", "rejected": "no"}
    data = write_rows(tmp_path / "long.jsonl", [row])
    monkeypatch.setattr(training, "fit", lambda *_: pytest.fail("was trained first"))
    config = configure(tmp_path, model, eval={"test": data}, **changes)
    assert message in refusal(config)


def test_a_run_refused_before_its_first_step_can_be_begun_anew(model, tmp_path):
    assert "leaves no room" in refusal(configure(tmp_path, model, max_length=2))
    assert train_toy(tmp_path, model, max_length=60).metrics.exists()


def test_a_loss_that_is_not_finite_ends_the_run(model, tmp_path):
    config = configure(tmp_path, model, kind="implicit", learning_rate=1e30)
    assert "the loss is nan: lower learning_rate" in refusal(config)
    run = Run(Path(config.out))
    assert not run.reward_model.exists() and not run.metrics.exists()
    assert all(math.isfinite(row["loss"]) for row in read_rows(run.log))


def test_a_run_of_no_step_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="max_steps must be at least 1; it is 0"):
        configure(tmp_path, model, max_steps=0)
