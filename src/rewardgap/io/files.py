"""Files and folders that are either complete or absent.

Where they cannot be written (permission, full disk), a `UserError` is raised.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from rewardgap.errors import reported

FAILURES = (OSError, SafetensorError)  # safetensors reports a full disk by its own error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path`, in one step, at the end of the block.

    Missing folders are created. After an error nothing is left behind, and an older `path` stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with reported(FAILURES, f"cannot write {path}: "):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield unfinished
            _flush(unfinished)
            unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `path` at the end of the block.

    After an error nothing is left behind, and an older `path` stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with reported(FAILURES, f"cannot write {path}: "):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            yield unfinished
            for file in filter(Path.is_file, unfinished.rglob("*")):
                _flush(file)
            if path.exists():
                shutil.rmtree(path)
            unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as `whole_file` does."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files and folders of killed processes, anywhere in a folder."""
    for path in folder.rglob(".*.unfinished"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _flush(path: Path) -> None:
    """Write a file to the disk, so that a rename never precedes the content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
