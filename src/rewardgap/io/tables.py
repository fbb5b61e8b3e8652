"""Tables in Arrow files: written batch by batch, mapped into memory, and read row by row.

The SHA-256 of the Arrow file follows it as the last 32 bytes.
"""

import hashlib
import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from rewardgap.errors import UserError
from rewardgap.io.cache import cached_for_file
from rewardgap.io.files import whole_file

logger = logging.getLogger(__name__)

CHECKSUM_BYTES = 32
BLOCK_BYTES = 2**20
INTACT = "intact"


@contextmanager
def write_table(path: Path, schema: pyarrow.Schema) -> Iterator[pyarrow.RecordBatchFileWriter]:
    """Yield a writer of record batches; the file is there, whole, when the block ends well."""
    with whole_file(path) as unfinished, unfinished.open("wb+") as file:
        with pyarrow.ipc.new_file(file, schema) as writer:
            yield writer
        file.seek(0)
        file.write(hashlib.file_digest(file, "sha256").digest())


class MappedTable:
    """The rows of a file that `write_table` has written.

    Only pages that are read are in memory, and the system can drop them at any time. `metadata` is
    that of the last batch.
    """

    def __init__(self, path: Path):
        self._path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content = pyarrow.py_buffer(self._map).slice(0, len(self._map) - CHECKSUM_BYTES)
        reader = pyarrow.ipc.open_file(content)
        self._table = reader.read_all()
        self.metadata: dict[bytes, bytes] = {}
        if reader.num_record_batches:
            last = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
            self.metadata |= last.custom_metadata or {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def cell(self, column: str, row: int) -> Any:
        """Return a cell as an Arrow scalar on the mapped file."""
        self._check()
        return self._table[column][row]

    def column(self, column: str) -> NDArray[Any]:
        """Return a copy of a column of numbers, (rows,)."""
        self._check()
        return np.array(self._table[column])

    def chunks(self, column: str) -> list[pyarrow.Array]:
        """Return a column as it is written, batch by batch, on the mapped file."""
        self._check()
        return list(self._table[column].chunks)

    def _check(self) -> None:
        """Raise a `UserError` if the file was cut, so that reading it would end the process."""
        if self._map.size() != len(self._map):
            raise UserError(f"{self._path} was cut while in use: start again, to compute it again")


def is_intact(path: Path) -> bool:
    """Return whether a file exists and has the checksum at its end; warn if it is damaged.

    A file that has not changed since it was checked is not read again.
    """
    if not path.exists():
        return False
    state = "unreadable"
    with suppress(OSError):
        state = cached_for_file(path, path.with_suffix(".checked"), _state)
    if state != INTACT:
        logger.warning("the cache entry %s is damaged; it is computed again", path)
    return state == INTACT


def _state(path: Path) -> str:
    checksum = hashlib.sha256()
    left = path.stat().st_size - CHECKSUM_BYTES
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
            checksum.update(block)
            left -= len(block)
        return INTACT if file.read() == checksum.digest() else "damaged"
