"""The grid on Ray: here, on two machines of which one is lost, and after an interrupt.

Ray starts slowly: all but the first test wait for `pytest -m ray`.
"""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import parent, raylet, wait_for
from processes import start
from toy_experiment import cells, settings

from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.experiments.run import run
from rewardgap.io.lock import LOCK
from rewardgap.io.run_folder import Run

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("plain_ray")]
LONG = 150
"""Epochs of a run that is killed before it ends."""


def results(folder: Path) -> dict[str, bytes]:
    paths = [*folder.rglob("scores/*.jsonl"), *folder.rglob("metrics.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def words(told: Any, folder: Path, *further: str) -> list[str]:
    words = ["run", told.experiment, "--out", told.out, "--data-dir", str(folder)]
    return [*words, "--executor", "ray", *further]


def running(folder: Path) -> dict[int, Run]:
    """The runs that have a checkpoint, by the processes that are at work in them."""
    runs = {}
    for cell in cells(folder):
        holder = (cell / LOCK).read_text() if (cell / LOCK).exists() else ""
        if holder and Run(cell).steps_saved:
            runs[int(holder.split()[1])] = Run(cell)
    return runs


def test_a_lost_process_and_a_lost_machine_cost_no_cell(config, cluster, forks, tmp_path):
    changes = {"settings": settings(tmp_path, epochs=LONG, checkpoint_steps=20)}
    expected = results(run(config("local", changes)).folder)
    told = config("grid", changes)
    driver = start(
        forks, tmp_path / "printed", main, words(told, tmp_path, "--address", cluster.address)
    )
    grid = Path(told.out)
    begun = wait_for(lambda: (grid / "experiment.yaml").exists() and running(grid))
    process, killed = next(iter(begun.items()))
    saved, log = killed.steps_saved, killed.log.read_bytes().splitlines()
    os.kill(process, signal.SIGKILL)
    other = next(iter(cluster.worker_nodes))
    there = wait_for(lambda: {p: r for p, r in running(grid).items() if parent(p) == raylet(other)})
    (moved,) = there.values()
    kept, moved_log = moved.steps_saved, moved.log.read_bytes().splitlines()
    cluster.remove_node(other, allow_graceful=False)
    assert driver.end() == 0, driver.stderr
    assert results(grid) == expected
    steps = LONG * 3
    for cell in cells(grid):
        assert [row["step"] for row in Run(cell).read_log()] == list(range(1, steps + 1))
        assert driver.stderr.count(f"{cell.relative_to(grid)}: finished") == 1
    assert killed.log.read_bytes().splitlines()[:saved] == log[:saved], "begun again"
    assert moved.log.read_bytes().splitlines()[:kept] == moved_log[:kept], "begun again"
    trained = [line for line in driver.stderr.splitlines() if ") trained " in line]
    assert len(trained) == len(cells(grid)), "none twice"


def test_runs_here_are_those_of_one_process_and_a_mistake_is_not_tried_again(config, caplog):
    wrong = {"learning_rate": 1e30, "kinds": ["explicit"]}
    told = config("grid", kinds=["explicit"], seeds=[0], variations=[wrong])
    with pytest.raises(UserError, match=r"failed: .*explicit~.*/seed-0; all else of the 2 cells"):
        run(replace(told, executor="ray", address="local"))
    assert not ray.is_initialized()
    assert caplog.text.count("learning_rate=1e+30/seed-0: the loss is nan: lower") == 1
    local = run(config("local", kinds=["explicit"], seeds=[0])).folder
    assert len(results(local)) == 2 and results(Path(told.out)) == results(local)


def test_an_interrupt_ends_all_runs_and_leaves_nothing_unfinished(config, forks, tmp_path):
    changes = {"settings": settings(tmp_path, epochs=100 * LONG, checkpoint_steps=20)}
    told = config("grid", changes)
    driver = start(forks, tmp_path / "printed", main, words(told, tmp_path, "--address", "local"))
    grid = Path(told.out)
    begun = wait_for(lambda: (grid / "experiment.yaml").exists() and running(grid))
    os.kill(driver.process.pid, signal.SIGINT)
    interrupted = time.monotonic()
    assert driver.end() == 128 + 2
    assert time.monotonic() - interrupted < 30
    assert "interrupted: the same command continues" in driver.stderr
    assert "Traceback" not in driver.stderr
    for process, cell in begun.items():
        wait_for(lambda process=process: not Path(f"/proc/{process}").exists())
        assert cell.steps_saved
    assert not [*grid.rglob(LOCK), *grid.rglob("*.unfinished")]
