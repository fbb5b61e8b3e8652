"""One process in a folder at a time, and none that has ended."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rewardgap.errors import UserError
from rewardgap.io.lock import sole_process

HOLDER = """
import sys
from pathlib import Path
from rewardgap.io.lock import sole_process
with sole_process(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that has the lock of a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_told_of_the_first(tmp_path):
    folder = tmp_path / "new" / "run"
    process = hold(folder)
    with pytest.raises(UserError) as caught, sole_process(folder):
        raise AssertionError
    holder = f"process {process.pid} on {socket.gethostname()} is at work in {folder}: "
    assert str(caught.value) == f"{holder}wait until it ends, or choose another out"
    process.communicate("")
    with sole_process(folder):
        assert (folder / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    assert not list(folder.iterdir())


def test_a_killed_process_blocks_none(tmp_path):
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / ".lock").exists()
    with sole_process(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_passes_and_leaves_no_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_process(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; choose"), sole_process(tmp_path / "file"):
        raise AssertionError
