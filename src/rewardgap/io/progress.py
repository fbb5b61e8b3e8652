"""Progress bars: on a terminal alone, and only where there is something to wait for."""

import sys
from collections.abc import Iterable, Sized
from typing import Protocol, TypeVar

from tqdm import tqdm

Item = TypeVar("Item", covariant=True)


class _SizedIterable(Sized, Iterable[Item], Protocol[Item]):
    """What a bar can count."""


def progress(items: _SizedIterable[Item], what: str) -> Iterable[Item]:
    """Iterate with a bar named `what` on standard error, if that is a terminal."""
    return tqdm(items, desc=what, leave=False, disable=not sys.stderr.isatty() or len(items) < 2)
