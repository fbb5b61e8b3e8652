"""Jobs side by side: order, needs, failures, the deadline, and what a second call does."""

import json
import operator
import os
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks import gpu_jobs
from benchmarks.side_by_side import Board, Job, Office, Results, run_jobs


def board(jobs: list[Job], folder: Path, seconds: float = 100.0) -> Board:
    return Board(jobs, Results(folder), time.monotonic() + seconds)


def names(jobs) -> list[str]:
    return [job.name for job in jobs]


def test_a_job_waits_for_what_it_needs_and_is_left_out_where_time_is_short(tmp_path):
    jobs = [
        Job("long", 200.0, os.getpid),
        Job("behind it", 1.0, os.getpid, ["long"]),
        Job("first", 1.0, os.getpid),
        Job("second", 1.0, os.getpid, ["first"]),
    ]
    now = board(jobs, tmp_path)
    assert names(now.open()) == ["first", "second"]
    assert now.next() is jobs[2]
    now.begun.add("first")
    assert names(now.open()) == ["second"] and now.next() is None
    now.took(jobs[2], None, None)  # its process ended
    assert names(now.open()) == []


def test_expectations_are_corrected_by_what_jobs_took(tmp_path):
    now = board([Job("next", 40.0, os.getpid)], tmp_path)
    for _ in range(4):
        now.took(Job("done", 10.0, os.getpid), 30.0, None)
    assert now.pace == 3.0 and now.next() is None


@pytest.mark.slow
def test_what_is_done_stays_and_the_rest_is_said(tmp_path, capsys):
    jobs = [
        Job("a/add", 1.0, partial(operator.add, 1, 2)),
        Job("a/after", 1.0, partial(operator.add, 3, 4), ["a/add"]),
        Job("wrong", 1.0, partial(int, "x")),
        Job("gone", 1.0, partial(os._exit, 3)),
        Job("behind", 1.0, os.getpid, ["wrong"]),
        Job("endless", 1.0, partial(time.sleep, 1000)),
    ]
    began = time.monotonic()
    done = run_jobs(lambda: jobs, 12.0, Office(tmp_path, 2, 1))
    assert time.monotonic() - began < 25
    assert done.failed == {"wrong", "gone"} and "behind" not in done.begun
    results = Results(tmp_path).read()
    assert {name: entry["result"] for name, entry in results.items()} == {"a/add": 3, "a/after": 7}
    assert "ValueError: invalid literal" in Results(tmp_path).log("wrong").read_text()
    gpu_jobs.pack(tmp_path)
    gpu_jobs.say(done, 12.0)
    assert "killed: endless\nnot begun: behind" in capsys.readouterr().out
    again = run_jobs(lambda: jobs[:2], 40.0, Office(tmp_path, 1, 1))
    assert not again.begun


def test_every_list_is_of_jobs_behind_those_that_they_need():
    lists = gpu_jobs.make_jobs(gpu_jobs.ORDER, "data", "model", Path("runs"))
    seen: set[str] = set()
    for job in lists:
        assert job.name not in seen and seen.issuperset(job.needs)
        seen.add(job.name)
    assert len(seen) > 200


def test_curves_are_taken_in_the_order_of_the_candidates():
    jobs = {
        f"gap/m/persona/{name}": json.loads('{"seconds": 1, "result": []}')
        for name in ("beta-0.1-1", "explicit-0", "plain-0")
    }
    taken = [(name, seed) for _, name, seed, _ in gpu_jobs._curves(jobs)]
    assert taken == [("plain", 0), ("explicit", 0), ("beta-0.1", 1)]
