"""A lock that keeps all processes but one out of a folder."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rewardgap.errors import UserError, reported

logger = logging.getLogger(__name__)

LOCK = ".lock"


class FolderTakenError(UserError):
    """Another process is at work in a folder."""


@contextmanager
def sole_process(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other processes that call this out of it to the end of the block.

    The system drops the lock of a process that ends, however it ends; the file `.lock` in the
    folder only names the process.

    Raises:
        FolderTakenError: Another process is in the folder.
        UserError: It cannot be made.
    """
    path = folder / LOCK
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another out")
    with reported(OSError, f"cannot write {path}: "):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """Return a descriptor of the locked file at `path`."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            os.close(descriptor)
            remedy = "wait until it ends, or choose another out"
            raise FolderTakenError(f"{holder} is at work in {path.parent}: {remedy}") from error
        except OSError as error:
            logger.warning("%s: two runs may write here at once (%s)", path, error.strerror)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # removed by its process after it was opened here
