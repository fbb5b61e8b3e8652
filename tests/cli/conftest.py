"""A working directory for commands, and commands that must fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import pair_rows, write_rows

from rewardgap.cli import main


@pytest.fixture(autouse=True)
def desk(folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, training data and test data; no hub to ask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDGAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "model").symlink_to(folders("llama"))
    write_rows(tmp_path / "train.jsonl", pair_rows(6))
    write_rows(tmp_path / "test.jsonl", pair_rows(4, start=6))
    return tmp_path


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below a folder, with the bytes of the files."""
    paths = (path for path in folder.rglob("*") if not path.is_symlink())
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Runs a command that must fail with one line and write nothing; returns the line."""

    def run(words: list[str]) -> str:
        before = content(desk)
        capsys.readouterr()
        assert main(words) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("rewardgap: ") and printed.err.endswith("\n")
        assert printed.err.count("\n") == 1
        assert content(desk) == before
        return printed.err

    return run
