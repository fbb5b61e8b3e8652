"""Scores on Ray: two machines, of which one loses its worker, or is lost; see `pytest -m ray`."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from clusters import at_work, raylet, wait_for
from processes import start
from toy import NO, PROMPTS, YES, read_rows, several_rows, train_toy, write_rows

from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.scoring.score import score

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray
RATING, WAITING = "ray::RayWorker.rate", "ray::RayWorker"
LONG = 2000
"""Records of which a worker is lost before all are rated."""


@pytest.fixture
def run(folders, tmp_path) -> Run:
    return train_toy(tmp_path, folders("llama"), kind="implicit", epochs=1)


def long_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"long-{i}",
            "prompt": f"{PROMPTS[i % 5]} {i} " * 10,
            "chosen": f"{YES[i % 3]} " * (1 + i % 20),
            "rejected": f"{NO[i % 2]} " * (1 + i % 7),
        }
        for i in range(count)
    ]


def assert_same(one: Path, other: Path) -> None:
    """All but the last digits of rewards is equal, in the same order."""
    rows = [[flat(row) for row in read_rows(path)] for path in (one, other)]
    assert len(rows[0]) == len(rows[1])
    for (rewards, rest), (others, same) in zip(*rows, strict=True):
        assert rest == same and rewards == pytest.approx(others, abs=1e-5)


def flat(row: dict[str, Any]) -> tuple[list[float], dict[str, Any]]:
    keys = [key for key in row if key.startswith("scores")]
    values = [row[key] for key in keys]
    rewards = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return rewards, {key: value for key, value in row.items() if key not in keys}


@pytest.mark.parametrize("loss", ["nothing", "process", "machine"])
def test_the_file_is_that_of_one_process(loss, run, cluster, forks, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", long_rows(LONG))
    words = ["score", str(run.folder), "--data", data, "--device", "cpu", "--max-length", "512"]
    words += ["--cache", str(tmp_path / "cache"), "--log-every", "0"]
    local, out = tmp_path / "local.jsonl", tmp_path / "ray" / "scores.jsonl"
    assert main([*words, "--out", str(local)]) == 0
    words += ["--out", str(out), "--executor", "ray", "--address", cluster.address]
    driver = start(forks, tmp_path / "printed", main, words)
    (other,) = cluster.worker_nodes
    machines = {raylet(other), raylet(cluster.head_node)}
    seen: set[int] = set()

    def both() -> bool:
        seen.update(at_work(RATING).values())
        return seen >= machines

    wait_for(both)
    (theirs,) = [p for p, r in (at_work(RATING) | at_work(WAITING)).items() if r == raylet(other)]
    assert not out.exists()
    if loss == "process":
        os.kill(theirs, signal.SIGKILL)
    if loss == "machine":
        cluster.remove_node(other, allow_graceful=False)
    assert driver.end() == 0, driver.stderr
    assert_same(out, local)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert f"scoring: {LONG:,} records" in driver.stderr


def test_all_else_is_as_without_ray(run, folders, tmp_path, caplog):
    """On a cluster of this machine alone: dropped records, an ensemble, a scale, no labels."""
    keys = {"device": "cpu", "cache": str(tmp_path / "cache"), "model": str(run.folder)}
    (tmp_path / "other").mkdir()
    other = train_toy(tmp_path / "other", folders("llama"), epochs=1)
    mean = f"mean({run.folder},{other.folder})"
    bad = {"id": "bad", "prompt": "hi", "chosen": "yes", "rejected": ""}
    rows = [bad, *several_rows(150), {**bad, "id": "too"}]
    mixed = write_rows(tmp_path / "mixed.jsonl", rows)
    asked = [{"prompt": row["prompt"], "responses": row["chosen"]} for row in several_rows(20)]
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        for number, further in enumerate(
            (
                {"data": mixed, "bad_records": "drop", "max_length": 40, "save_scale": True},
                {"data": f"{mixed}?limit=3", "bad_records": "drop", "standardise": True},
                {
                    "data": mixed,
                    "bad_records": "drop",
                    "model": mean,
                },
                {"data": write_rows(tmp_path / "asked.jsonl", asked)},
            )
        ):
            outs = [tmp_path / f"{name}-{number}" for name in ("local", "ray")]
            means: list[tuple[float, float]] = []
            for out in outs:
                score(**{**keys, **further, "out": str(out), "executor": out.name.split("-")[0]})
                saved = json.loads((run.reward_model / "rewardgap.json").read_text())["scale"]
                means.append((saved["mean"], saved["deviation"]))
            assert_same(*outs)
            assert means[0] == pytest.approx(means[1], abs=1e-5)
            dropped = [Path(f"{out}.dropped.jsonl") for out in outs]
            assert [path.exists() for path in dropped] == ["bad_records" in further] * 2
            if dropped[0].exists():
                assert dropped[0].read_text() == dropped[1].read_text()
        assert caplog.text.count(" of 150 records were truncated") == 2
        said = [text for text in caplog.messages if "were truncated" in text]
        assert said[0] == said[1]
        refused = {"data": str(tmp_path / "gone"), **keys, "out": str(tmp_path / "none")}
        for wrong, words in (
            ({"data": mixed}, "line 1: `rejected` has an empty response"),
            ({"data": f"{mixed}?limit=1", "bad_records": "drop"}, "no records that can be used"),
            ({"data": str(tmp_path / "asked.jsonl"), "model": str(tmp_path)}, "worker on .*config"),
        ):
            with pytest.raises(UserError, match=words):
                score(**{**refused, **wrong, "executor": "ray"})
        assert not list(tmp_path.glob("*none*"))
    finally:
        ray.shutdown()
