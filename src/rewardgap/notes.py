"""Notes of what was found of large files, so that an unchanged one is not read again."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rewardgap.errors import UserError
from rewardgap.storage import write_text

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
    known = _read(note)
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


def _read(note: Path) -> dict[str, object] | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return known if {"stamp", "found"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
