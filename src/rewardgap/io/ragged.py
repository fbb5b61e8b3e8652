"""Rows of numbers, of any lengths, in one file: written as they come and read by position.

The file holds the numbers of all rows; an index, which says of every row where it ends and what
else was noted of it (int64); a description in JSON and its length; and the SHA-256 of all that.

The file is mapped into memory. Pages that rows were read from are given back time and again: they
would count as the process's own memory, which would grow with the data after all.
"""

import hashlib
import json
import logging
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rewardgap.errors import UserError
from rewardgap.io.cache import cached_for_file
from rewardgap.io.files import whole_file

logger = logging.getLogger(__name__)

INDEX = np.dtype("<i8")
CHECKSUM_BYTES = 32
INTACT = "intact"
BLOCK = 2**16
"""rows of the index, or bytes, that are read at once where all are walked through"""
NEIGHBOURS = 2**16
"""bytes that the system may bring in beside those that are read"""
MOST_MAPPED = 2**22
"""bytes after which pages are given back"""

Values = NDArray[Any]


class RaggedWriter:
    """Takes the rows of a file, one after the other.

    Attributes:
        description: What the file shall say of itself, for JSON; filled before the file ends.
    """

    def __init__(self, file: IO[bytes], index: IO[bytes], dtype: np.dtype[Any]):
        self.description: dict[str, Any] = {}
        self.rows = 0
        self._file = file
        self._index = index
        self._dtype = dtype
        self._end = 0
        self._checksum = hashlib.sha256()

    def add(self, row: Values, *notes: int) -> None:
        """Write a row, and as many notes of it as of every other."""
        self._end += len(row)
        self.rows += 1
        self._write(np.asarray(row, self._dtype).tobytes())
        self._index.write(np.array([self._end, *notes], INDEX).tobytes())

    def finish(self) -> None:
        """Write what stands behind the rows."""
        told = {"rows": self.rows, "end": self._end, "content": self._checksum.hexdigest()}
        self._index.seek(0)
        for block in iter(lambda: self._index.read(BLOCK), b""):
            self._write(block)
        text = json.dumps(told | self.description).encode()
        self._write(text)
        self._write(np.array(len(text), INDEX).tobytes())
        self._file.write(self._checksum.digest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._checksum.update(data)


@contextmanager
def write_ragged(path: Path, dtype: DTypeLike) -> Iterator[RaggedWriter]:
    """Yield a writer of rows; the file is there, whole, when the block ends well.

    Raises:
        UserError: the file cannot be written.
    """
    with (
        whole_file(path) as unfinished,
        unfinished.open("wb") as file,
        TemporaryFile(dir=unfinished.parent) as index,
    ):
        writer = RaggedWriter(file, index, np.dtype(dtype).newbyteorder("<"))
        yield writer
        writer.finish()


class Ragged(Sequence[Values]):
    """The rows of a file that `write_ragged` has written.

    Attributes:
        description: what the writer said of the file, with the number of `rows` and a hash of
            their `content`.
    """

    def __init__(self, path: Path, dtype: DTypeLike, columns: int = 0):
        """Open a file.

        Args:
            path: of the file.
            dtype: of the rows.
            columns: notes of each row.
        """
        self._path = path
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._columns = 1 + columns
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mapped = 0
        length_at = len(self._map) - CHECKSUM_BYTES - INDEX.itemsize
        length = int(self._read(INDEX, 1, length_at)[0])
        text = self._map[length_at - length : length_at]
        self.description: dict[str, Any] = json.loads(text)
        self._index_at = int(self.description["end"]) * self._dtype.itemsize

    def __len__(self) -> int:
        return int(self.description["rows"])

    @overload
    def __getitem__(self, index: int) -> Values: ...
    @overload
    def __getitem__(self, index: slice) -> list[Values]: ...
    def __getitem__(self, index: int | slice) -> Values | list[Values]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        row = range(len(self))[index]
        first = max(0, row - 1)
        ends = self._index(first, row + 1)[:, 0].tolist()
        start = ends[0] if row else 0
        offset = start * self._dtype.itemsize
        return self._read(self._dtype, ends[-1] - start, offset)

    def column(self, column: int, dtype: DTypeLike) -> Values:
        """One note of all rows, (rows,)."""
        values = np.empty(len(self), dtype)
        for start in range(0, len(self), BLOCK):
            stop = min(start + BLOCK, len(self))
            values[start:stop] = self._index(start, stop)[:, 1 + column]
        return values

    def _index(self, start: int, stop: int) -> NDArray[np.int64]:
        """What the index says of the rows from `start` to before `stop`: end and notes."""
        offset = self._index_at + start * self._columns * INDEX.itemsize
        count = (stop - start) * self._columns
        return self._read(INDEX, count, offset).reshape(-1, self._columns)

    def _read(self, dtype: np.dtype[Any], count: int, offset: int) -> Values:
        """A copy of some numbers, which no longer needs the map."""
        if self._map.size() != len(self._map):  # pages that are gone would end the process
            raise UserError(f"{self._path} was cut while in use: start again, to have it made anew")
        values = np.frombuffer(self._map, dtype, count, offset).copy()
        self._mapped += values.nbytes + NEIGHBOURS
        if self._mapped > MOST_MAPPED and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._mapped = 0
        return values


def is_intact(path: Path) -> bool:
    """Whether a file is there and has the checksum that it ends in; warns of a damaged one.

    A file that has not changed since it was checked is not read again.
    """
    if not path.exists():
        return False
    try:
        intact = cached_for_file(path, path.with_suffix(".checked"), _state) == INTACT
    except OSError:
        intact = False
    if not intact:
        logger.warning("the cache entry %s is damaged; it is computed again", path)
    return intact


def _state(path: Path) -> str:
    """`INTACT`, where a file's checksum is right."""
    checksum = hashlib.sha256()
    left = path.stat().st_size - CHECKSUM_BYTES
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK, left))):
            checksum.update(block)
            left -= len(block)
        return INTACT if file.read() == checksum.digest() else "damaged"
