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
from rewardgap.io.files import read_json, whole_file, write_text

logger = logging.getLogger(__name__)

# A file may change again within a tick of its clock, so nothing is cached for younger files.
SETTLED = 2.0

Arrays: TypeAlias = Mapping[str, NDArray[np.float64]]


def cache_folder(chosen: str | None) -> Path:
    """Return the cache folder: `chosen`, else $REWARDGAP_CACHE, else ~/.cache/rewardgap."""
    default = Path.home() / ".cache" / "rewardgap"
    return Path(chosen or os.environ.get("REWARDGAP_CACHE") or default).expanduser()


def cache_key(*parts: object) -> str:
    """Return a short name for a result, hashed from the `repr` of everything that determines it."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:32]


def cached_for_file(path: Path, entry: Path, compute: Callable[[Path], str]) -> str:
    """Cache a value that is computed from a file in the file `entry`, until the file changes.

    A file has changed if its inode, its size or one of its times has. The system itself sets the
    time of the last change, so putting back a modification date hides nothing.

    Raises:
        OSError: There is no such file.
    """
    stamp = _stamp(path)
    with suppress(UserError, TypeError, KeyError):
        cached = read_json(entry)
        if cached["stamp"] == stamp:
            return str(cached["value"])
    value = compute(path)
    if stamp == _stamp(path) and time.time() - max(stamp[2:]) / 1e9 > SETTLED:
        with suppress(UserError):  # a cache that others fill may be read-only
            write_text(entry, json.dumps({"stamp": stamp, "value": value}))
    return value


def _stamp(path: Path) -> list[int]:
    """Return a file's inode, its size, and when it was last written and changed (ns)."""
    status = os.stat(path)
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def cached_arrays(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """Load the cached arrays, or compute and cache them (scalars as 0-d arrays).

    A file whose checksum is wrong is computed again; safetensors would not notice a flipped bit.
    """
    if path.exists():
        with suppress(SafetensorError, OSError):
            arrays = load_file(path)
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
            if metadata.get("sha256") == _checksum(arrays):
                return arrays
        logger.warning("the cache entry %s is damaged; it is computed again", path)
    arrays = {name: np.array(value, order="C") for name, value in compute().items()}
    with whole_file(path) as unfinished:
        save_file(arrays, unfinished, {"sha256": _checksum(arrays)})
    return arrays


def _checksum(arrays: Arrays) -> str:
    """Return the SHA-256 of names, shapes and numbers."""
    checksum = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        checksum.update(f"{name} {values.shape} ".encode())
        checksum.update(values.data)
    return checksum.hexdigest()
