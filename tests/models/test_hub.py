"""Names on the hub where there is no network: the hub's cache, or one line in a few seconds.

Every test is a process of its own, as the hub's clients read their environment once.
"""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import TEMPLATE

LOCATE = """
import sys, time
from rewardgap.errors import UserError
from rewardgap.models.hub import locate_model
began = time.monotonic()
try:
    print(locate_model(sys.argv[1]))
except UserError as error:
    print(error)
print(f"{time.monotonic() - began:.1f}")
"""
LOAD = """
import sys, time
from rewardgap.data.load import load
from rewardgap.errors import UserError
import datasets
began = time.monotonic()
try:
    print([record.id for record in load(sys.argv[1])])
except UserError as error:
    print(error)
print(f"{time.monotonic() - began:.1f}")
assert not datasets.config.HF_HUB_OFFLINE
"""
CLOSED = "http://127.0.0.1:9"


def run(code: str, name: str, home: Path, endpoint: str = CLOSED) -> tuple[str, float]:
    """What a program prints with this cache of the hub and this address of it, and its seconds."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    printed, seconds = done.stdout.splitlines()
    return printed, float(seconds)


@pytest.mark.parametrize("code", [LOCATE, LOAD])
def test_a_hub_that_cannot_be_reached(code, tmp_path):
    message, seconds = run(code, "organisation/absent", tmp_path)
    assert "organisation/absent" in message and "hub cannot be reached" in message
    assert "refused" in message and seconds < 15


def test_a_hub_that_does_not_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        message, seconds = run(LOCATE, "organisation/absent", tmp_path, endpoint)
    assert "hub cannot be reached (timed out)" in message and seconds < 15


def test_a_model_in_the_cache_needs_no_network(folders, tmp_path):
    folder = tmp_path / "hub/models--organisation--present"
    snapshot = folder / "snapshots" / ("0" * 40)
    shutil.copytree(folders("llama", "<|pad|>", TEMPLATE), snapshot)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0" * 40)
    found, _ = run(LOCATE, "organisation/present", tmp_path)
    assert found == str(snapshot)


def test_data_in_the_cache_need_no_network(tmp_path):
    import datasets

    row = {"id": "a", "prompt": "p", "chosen": "c", "rejected": "r"}
    folder = tmp_path / "datasets/organisation___present/default/0.0.0" / ("0" * 40)
    data = datasets.Dataset.from_list([row])
    data.info.builder_name, data.info.config_name = "json", "default"
    data.info.dataset_name, data.info.version = "present", "0.0.0"
    data.info.splits = datasets.SplitDict.from_split_dict(
        [{"name": "train", "num_examples": 1, "dataset_name": "present"}]
    )
    folder.mkdir(parents=True)
    with datasets.arrow_writer.ArrowWriter(path=str(folder / "present-train.arrow")) as writer:
        writer.write(row)
        writer.finalize()
    data.info.write_to_directory(str(folder))
    assert run(LOAD, "organisation/present", tmp_path)[0] == "['a']"
