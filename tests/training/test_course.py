"""What a run says of itself: its start, its end, and warnings where it came to nothing."""

import logging
import math
import re

import pytest
from toy import read_rows, train_toy

from rewardgap.training.course import find_faults
from rewardgap.training.loop import warn_of_first_step


def rows(losses, accuracies=None, rewards=(0.1, 0.0)):
    accuracies = accuracies or [0.5] * len(losses)
    chosen, rejected = rewards
    return [
        {
            **{"step": step, "loss": loss, "accuracy": accuracy, "margin": chosen - rejected},
            **{"reward_chosen": chosen, "reward_rejected": rejected},
        }
        for step, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1)
    ]


LN2 = math.log(2)
FLAT = [LN2] * 20
FALLING = [LN2 * 0.9**step for step in range(20)]


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        (rows(FALLING), None),
        (rows(FLAT), "training shows no learning: the loss is 0.6931 after 0.6931"),
        (rows(FALLING[::-1]), "shows no learning"),
        (rows(FLAT, [0.5] * 10 + [0.8] * 10), None),  # small rewards can be right
        (rows([LN2]), None),
        (rows(FALLING, rewards=(0.0, 0.0)), "all responses get the same reward, 0: lower"),
        (rows([LN2, 9.0, *FLAT]), "the loss has exploded: 9 at step 2, 0.693 at the first"),
        (rows(FALLING, rewards=(-9000.0, -9500.0)), None),  # as large as from the first
        ([*rows(FLAT), *rows(FALLING, rewards=(16551.0, 0))], "exploded: 16,551 in the last"),
    ],
)
def test_a_training_that_came_to_nothing_is_told(log, fault):
    found = find_faults(log, 1e-6)
    assert found == [] if fault is None else fault in found[0]
    assert all("1e-06" in text for text in found)


@pytest.mark.parametrize(
    ("step", "accuracy", "pairs", "warned"),
    [(1, 1, 8, True), (1, 1, 7, False), (1, 0.99, 100, False), (2, 1, 100, False)],
)
def test_all_right_before_anything_is_learnt(step, accuracy, pairs, warned, caplog):
    warn_of_first_step({"step": step, "accuracy": accuracy}, pairs)
    assert ("before anything is learnt" in caplog.text) is warned


def test_a_run_says_where_it_starts_and_how_far_it_came(model, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rewardgap")
    train_toy(tmp_path, model)
    text = caplog.text
    start = r"training explicit on \S+: 12 pairs of 12 records, [\d,]+ tokens; 9 steps of 4 pairs"
    assert re.search(start, text)
    assert "on cpu, products in float32; learning rate 0.003; truncated 0, left out 0" in text
    assert 0.2 < float(re.search(r"memory: about (\d+\.\d) GiB at the most", text)[1]) < 8
    end = (
        r"trained explicit: loss (\d\.\d+) → (\d\.\d+), accuracy \S+ → 1.000 .* 9 steps\) in \d+ s"
    )
    first, last = re.search(end, text).groups()
    assert float(first) > float(last)


def test_a_margin_of_log_ratios_is_also_told_in_nats(model, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rewardgap")
    run = train_toy(tmp_path, model, kind="implicit", beta=0.02, eval={})
    before, after = read_rows(run.log)[:: len(read_rows(run.log)) - 1]
    start, end = (row["log_prob_chosen"] - row["log_prob_rejected"] for row in (before, after))
    told = int(re.search(r"→ 1.000, margin/β (\d+) nats \(", caplog.text)[1])
    assert told == round(after["margin"] / 0.02)
    assert told > 0 and end > start
