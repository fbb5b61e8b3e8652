"""The log of a run's steps, and a checksum of what it says of them, times left out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xxhash import xxh3_128

from rewardgap.io.files import read_number

TIMINGS = frozenset({"pairs_per_second", "tokens_per_second", "peak_memory"})
"""Figures that differ when the same run is done again."""
DAMAGE = (ValueError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class StepLog:
    """A run's log, one JSON object per line, as far as it is written.

    The same steps have the same checksum, so that a run that was killed has the files of one that
    was not.
    """

    path: Path
    hashed: xxh3_128 = field(default_factory=xxh3_128)

    @classmethod
    def of(cls, path: Path, text: str) -> "StepLog":
        """Return a log that holds a text; raise an error of DAMAGE if it is none of a log."""
        log = cls(path)
        for line in text.splitlines():
            log.count(json.loads(line))
        return log

    def count(self, row: Mapping[str, float]) -> None:
        """Add a row to the checksum."""
        numbers = [(key, read_number(value)) for key, value in row.items()]
        steady = [(key, value) for key, value in numbers if key not in TIMINGS]
        self.hashed.update(repr(steady).encode())

    @property
    def checksum(self) -> str:
        """The checksum of all rows."""
        return self.hashed.hexdigest()
