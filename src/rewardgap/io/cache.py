"""Cached results: where they are, and values and arrays that are computed once."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from rewardgap.errors import UserError
from rewardgap.io.files import whole_file, write_text


def cache_folder(chosen: str | None) -> Path:
    """The folder of reusable results: `chosen`, else $REWARDGAP_CACHE, else ~/.cache/rewardgap."""
    default = Path.home() / ".cache" / "rewardgap"
    return Path(chosen or os.environ.get("REWARDGAP_CACHE") or default).expanduser()


def cache_key(*told: object) -> str:
    """A short name for what determines a reusable result, from the `repr` of each part."""
    return hashlib.sha256("\n".join(map(repr, told)).encode()).hexdigest()[:32]


# A file may change again within a tick of its clock; what is younger than this is not noted.
SETTLED = 2.0


def noted(path: Path, note: Path, find: Callable[[Path], str]) -> str:
    """What `find` says of a file, from its note unless the file has changed since.

    A file has changed if its size, its place on the disk or one of its times has. The system sets
    the time of the last change itself, so that a date that is put back hides nothing.

    Args:
        path: of the file.
        note: where the note is, or will be.
        find: reads the file.

    Raises:
        OSError: there is no such file.
    """
    stamp = _stamp(path)
    known = _read_note(note)
    if known is not None and known["stamp"] == stamp:
        return str(known["found"])
    found = find(path)
    if stamp == _stamp(path) and time.time() - max(stamp[2:]) / 1e9 > SETTLED:
        with suppress(UserError):  # a cache that others fill may be read only
            write_text(note, json.dumps({"stamp": stamp, "found": found}))
    return found


def _stamp(path: Path) -> list[int]:
    """A file's place on the disk, its size, and when it was last written and changed (ns)."""
    status = os.stat(path)
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _read_note(note: Path) -> dict[str, object] | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return known if {"stamp", "found"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


"""Arrays kept on disk, so that no kernel is computed twice."""


logger = logging.getLogger(__name__)


Arrays: TypeAlias = Mapping[str, NDArray[np.float64]]


def kept(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """What was computed before under this path, or is now; scalars are arrays of no dimension.

    A file whose checksum is not that of its arrays is computed again.
    """
    if path.exists():
        found = _read_arrays(path)
        if found is not None:
            return found
        logger.warning("the cache entry %s is damaged; it is computed again", path)
    found = {name: np.array(value, order="C") for name, value in compute().items()}
    with whole_file(path) as unfinished:
        save_file(found, unfinished, {"sha256": _checksum_of(found)})
    return found


def _read_arrays(path: Path) -> Arrays | None:
    """The arrays of a file; None where they are not those that were written."""
    try:
        found = load_file(path)
        with safe_open(path, "numpy") as file:
            told = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return found if told.get("sha256") == _checksum_of(found) else None


def _checksum_of(arrays: Arrays) -> str:
    """SHA-256 of names, shapes and numbers."""
    checksum = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        checksum.update(f"{name} {values.shape} ".encode())
        checksum.update(values.data)
    return checksum.hexdigest()
