"""Where the rewards of a score file are computed: refusals, which need no Ray."""

import sys
from collections.abc import Callable
from socket import create_server
from types import SimpleNamespace
from typing import Any

import pytest
from toy import pair_rows, write_rows

from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.scoring.score import score


@pytest.fixture
def told(folders, tmp_path) -> dict[str, Any]:
    data = write_rows(tmp_path / "data.jsonl", pair_rows(3))
    out = str(tmp_path / "out" / "scores.jsonl")
    return {"model": str(folders("llama")), "kind": "length", "data": data, "out": out}


@pytest.fixture
def free() -> str:
    """An address where nothing answers."""
    with create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refused(told, tmp_path) -> Callable[..., None]:
    def check(message: str, **keys: Any) -> None:
        with pytest.raises(UserError, match=message) as caught:
            score(**{**told, **keys})
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    return check


@pytest.mark.parametrize("key", ["address", "cpus_per_worker", "gpus_per_worker"])
def test_the_keys_of_ray_are_no_others(key, refused):
    value = "head:6379" if key == "address" else 1
    refused(
        f"{key}: the executor local takes no such key; .* choose the executor ray", **{key: value}
    )


def test_scores_here_need_no_ray(told, refused, monkeypatch):
    for absent in (None, SimpleNamespace(__file__=None)):  # importing it fails; a mere folder
        monkeypatch.setitem(sys.modules, "ray", absent)
        refused(r"the executor ray needs .* pip install 'rewardgap\[ray\]'", executor="ray")
    assert score(**told).path.exists()


def test_what_is_wrong_is_refused_before_a_cluster_is_joined(refused, free, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__file__="ray"))
    refused("address: 'head' is no HOST:PORT", executor="ray", address="head")
    refused(f"no cluster of Ray answers at {free}", executor="ray", address=free)
    refused("no such file", executor="ray", data="gone.jsonl")
    refused("cpus_per_worker must be at least 1", executor="ray", cpus_per_worker=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("leave out torchrun", executor="ray")


def test_the_command_line_says_it_in_one_line(told, free, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(__file__="ray"))
    words = [word for key, value in told.items() for word in (f"--{key}", value)]
    words = ["score", *words, "--executor", "ray"]
    assert main([*words, "--address", free]) == 2
    assert main([*words, "--address", "head"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith(
        f"rewardgap: no cluster of Ray answers at {free}"
    )
    assert lines[1].startswith("rewardgap: address: 'head' is no HOST:PORT")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.jsonl").write_text("mine")
    assert main(words) == 2 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "out" / "scores.jsonl").read_text() == "mine"
