"""Keeping the weights that rank a held-out set best."""

import re

import pytest
from toy import configure, pair_rows, read_rows, train_toy, write_rows

from rewardgap.errors import UserError
from rewardgap.training.checkpoints import BestWeights


def swapped(folder):
    """Pairs that are the more often ranked wrongly the more is learnt."""
    rows = [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]}
        for row in pair_rows(6, start=12)
    ]
    return {"swapped": write_rows(folder / "swapped.jsonl", rows)}


def test_the_weights_of_the_best_step_are_those_of_a_run_that_ends_there(model, tmp_path):
    sets = swapped(tmp_path)
    changes = {"eval": sets, "learning_rate": 3e-4}
    run = train_toy(tmp_path, model, **changes, eval_steps=1, keep_best="swapped")
    accuracies = [row["eval_accuracy/swapped"] for row in read_rows(run.log)]
    best = max(range(len(accuracies)), key=lambda step: (accuracies[step], step)) + 1
    assert 1 < best < len(accuracies)
    short = train_toy(tmp_path, model, **changes, max_steps=best, out=str(tmp_path / "short"))
    for file in ("reward_model/model.safetensors", "scores/swapped.jsonl", "metrics.json"):
        assert (run.folder / file).read_bytes() == (short.folder / file).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep_best": "tests", "eval_steps": 1}, "'tests', which is no evaluation set; .* test"),
        ({"keep_best": "test"}, "keep_best needs eval_steps"),
    ],
)
def test_there_must_be_something_to_go_by(changes, message, model, tmp_path):
    with pytest.raises(UserError, match=message):
        configure(tmp_path, model, **changes)


def test_weights_that_are_gone_are_not_passed_over(tmp_path):
    best = BestWeights.of("test", tmp_path, '{"eval_accuracy/test": 0.5}\n{"step": 2}\n')
    assert best.accuracy == 0.5
    with pytest.raises(UserError, match=re.escape(f"{best.path} cannot be read")):
        best.restore({})
