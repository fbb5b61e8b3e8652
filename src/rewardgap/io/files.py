"""Files and folders that are either complete or absent, files read whole, and their checksums.

Where they cannot be written (permission, full disk) or read (missing, damaged), a `UserError` is
raised. An unfinished file is named by the process that writes it, as `.NAME.HOST-PID.unfinished`,
so that what a killed process left is told from what another one is writing.

`checksums.json` in a folder has a checksum for every finished file in it, by its path. Without it,
as in folders that an older version wrote, nothing is compared.
"""

import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any

import xxhash
import yaml
from safetensors import SafetensorError

from rewardgap.errors import UserError, reported

FAILURES = (OSError, SafetensorError)  # safetensors reports a full disk by its own error
CHECKSUMS = "checksums.json"
MAX = sys.float_info.max
ABANDONED = 24 * 3600
"""Seconds after which a file that another computer was writing is taken to be left behind."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path`, in one step, at the end of the block.

    Missing folders are created. After an error nothing is left behind, and an older `path` stays.
    A device or a pipe is refused: the file would take its place.
    """
    unfinished = _unfinished(path)
    try:
        with reported(FAILURES, f"cannot write {path}: "):
            if path.exists() and not path.is_file() and not path.is_dir():
                raise UserError(f"cannot write {path}: it is a device or a pipe; name a file")
            _remove_abandoned(path.parent.glob(f".{escape(path.name)}.*.unfinished"))
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
    unfinished = _unfinished(path)
    try:
        with reported(FAILURES, f"cannot write {path}: "):
            _remove_abandoned(path.parent.glob(f".{escape(path.name)}.*.unfinished"))
            unfinished.mkdir(parents=True)
            yield unfinished
            for file in filter(Path.is_file, unfinished.rglob("*")):
                _flush(file)
            if path.exists():
                shutil.rmtree(path)
            unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    """Return what a file or folder is called while this process writes it."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.unfinished")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise a `UserError` if there is a result at a path already, unless it may be replaced."""
    if not overwrite and path.exists():
        raise UserError(f"{path} exists already: choose another out, or pass `overwrite: true`")


def write_text(path: Path, text: str) -> None:
    """Write a text file as `whole_file` does."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; raise a `UserError` if it is missing or damaged."""
    with reported((OSError, ValueError, RecursionError), f"cannot read {path}: "):
        return json.loads(path.read_text(encoding="utf-8"))


def differing_keys(
    before: Mapping[Any, Any], settings: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """Return in order the keys, but for some that may differ, whose written values are no longer.

    Args:
        before: The settings as a file has them.
        settings: Those of now; tuples and lists are alike, as in a file.
        free: Keys that may differ.
    """
    now = json.loads(json.dumps(settings))
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return sorted(str(key) for key in keys if key not in free)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; raise a `UserError` if it is missing or damaged."""
    # A wrong tag raises errors of any type.
    with reported(Exception, f"cannot read {path}: "):
        return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_number(value: object) -> float:
    """Return a number that a file holds; raise a `ValueError` for all but finite numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX:
        raise ValueError(f"{value!r:.40} is no finite number")
    return float(value)


def remove_unfinished(folder: Path) -> None:
    """Remove unfinished files and folders of killed processes, anywhere in a folder."""
    _remove_abandoned(folder.rglob(".*.unfinished"))


def _remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove what no running process is writing; this one is writing none of `paths`."""
    for path in list(paths):
        host, _, process = path.name.removesuffix(".unfinished").rpartition("-")
        with suppress(OSError):  # another process removes it, or it is another user's
            if not process.isdecimal() or _is_abandoned(path, host, int(process)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_abandoned(path: Path, host: str, process: int) -> bool:
    if host.endswith(f".{socket.gethostname()}"):
        return process == os.getpid() or not is_running(process)
    return time.time() - path.stat().st_mtime > ABANDONED


def is_running(process: int) -> bool:
    """Return whether this computer runs a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _flush(path: Path) -> None:
    """Write a file to the disk, so that a rename never precedes the content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path) -> str:
    """Return the checksum of a file, as fast as the disk: it is to find damage and not malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def write_checksums(folder: Path, files: Mapping[Path, Path]) -> None:
    """Write `checksums.json`, which has no other files than these.

    Args:
        folder: Where it is.
        files: By the path in the folder that a file has in the end, the path that it has now.
    """
    values = {str(path.relative_to(folder)): checksum(now) for path, now in sorted(files.items())}
    write_text(folder / CHECKSUMS, json.dumps({"xxh3_128": values}, indent=2) + "\n")


def update_checksum(folder: Path, path: Path) -> None:
    """Write the checksum of a file that was changed on purpose, if the folder has checksums."""
    if (folder / CHECKSUMS).exists():
        known = read_json(folder / CHECKSUMS)
        known["xxh3_128"][str(path.relative_to(folder))] = checksum(path)
        write_text(folder / CHECKSUMS, json.dumps(known, indent=2) + "\n")


def find_damaged(folder: Path, *patterns: str) -> list[Path]:
    """Return the finished files of a folder that differ from their checksums, or are gone.

    Args:
        folder: The folder.
        patterns: Of the paths in it that are looked at; by default all that have a checksum.

    Raises:
        UserError: `checksums.json` or a file cannot be read.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return []
    with reported((KeyError, TypeError, AttributeError), f"{path} is damaged: "):
        known = {str(name): str(value) for name, value in read_json(path)["xxh3_128"].items()}
        if odd := [name for name in known if not name.isprintable()]:
            raise TypeError(f"{odd[0]!r:.40} is no name of a file")
    names = [name for name in known if not patterns or _is_any(name, patterns)]
    with reported((OSError, ValueError), f"{folder}: cannot be read: "):
        return [folder / name for name in names if not _is_intact(folder / name, known[name])]


def refuse_damaged(folder: Path, *patterns: str, remedy: str, gone: bool = True) -> None:
    """Raise a `UserError` that names the first damaged file, `gone` or not, and what to do."""
    for path in find_damaged(folder, *patterns):
        if gone or path.exists():
            purpose = f"if this is on purpose, remove {folder / CHECKSUMS}"
            raise UserError(f"{path} is not what was written, by its checksum: {remedy}; {purpose}")


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _is_intact(path: Path, value: str) -> bool:
    return path.is_file() and checksum(path) == value
