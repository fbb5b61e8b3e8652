"""The checksum of a log: of what a run does, not of how long it takes."""

import json
from pathlib import Path

import pytest

from rewardgap.training.step_log import StepLog

ROWS = [{"step": step, "loss": 0.1 * step, "pairs_per_second": 7.0 * step} for step in (1, 2)]


def checksum(*rows: object) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return StepLog.of(Path("log.jsonl"), text).checksum


def test_times_do_not_count_and_all_else_does():
    slower = [row | {"pairs_per_second": 0.5} for row in ROWS]
    assert checksum(*ROWS) == checksum(*slower)
    others = [
        ROWS[:1],
        ROWS[::-1],
        [ROWS[0], ROWS[1] | {"loss": 0.3}],
        [ROWS[0], ROWS[1] | {"margin": 0.0}],
        [ROWS[0], {"step": 2}],
    ]
    assert len({checksum(*rows) for rows in (ROWS, *others)}) == 1 + len(others)


def test_rows_that_are_counted_one_by_one_are_those_of_the_text():
    log = StepLog.of(Path("log.jsonl"), json.dumps(ROWS[0]) + "\n")
    log.count(ROWS[1])
    assert log.checksum == checksum(*ROWS)


@pytest.mark.parametrize("row", [3, [], {"step": "1"}, {"peak_memory": "3"}, {"loss": None}])
def test_rows_that_are_none_are_damage(row):
    with pytest.raises((ValueError, AttributeError)):
        checksum(row)
