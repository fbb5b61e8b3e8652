"""Arrays kept on disk, so that no kernel is computed twice."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rewardgap.storage import whole_file

logger = logging.getLogger(__name__)

Arrays: TypeAlias = Mapping[str, NDArray[np.float64]]


def kept(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """What was computed before under this path, or is now; scalars are arrays of no dimension."""
    if path.exists():
        try:
            return load_file(path)
        except (SafetensorError, OSError):
            logger.warning("the cache entry %s is damaged; it is computed again", path)
    found = {name: np.ascontiguousarray(value) for name, value in compute().items()}
    with whole_file(path) as unfinished:
        save_file(found, unfinished)
    return found
