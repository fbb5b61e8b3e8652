"""Arrays kept on disk, so that no kernel is computed twice."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from rewardgap.storage import whole_file

logger = logging.getLogger(__name__)

Arrays: TypeAlias = Mapping[str, NDArray[np.float64]]


def kept(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """What was computed before under this path, or is now; scalars are arrays of no dimension.

    A file whose checksum is not that of its arrays is computed again.
    """
    if path.exists():
        found = _read(path)
        if found is not None:
            return found
        logger.warning("the cache entry %s is damaged; it is computed again", path)
    found = {name: np.array(value, order="C") for name, value in compute().items()}
    with whole_file(path) as unfinished:
        save_file(found, unfinished, {"sha256": _checksum(found)})
    return found


def _read(path: Path) -> Arrays | None:
    """The arrays of a file; None where they are not those that were written."""
    try:
        found = load_file(path)
        with safe_open(path, "numpy") as file:
            told = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return found if told.get("sha256") == _checksum(found) else None


def _checksum(arrays: Arrays) -> str:
    """SHA-256 of names, shapes and numbers."""
    checksum = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        checksum.update(f"{name} {values.shape} ".encode())
        checksum.update(values.data)
    return checksum.hexdigest()
