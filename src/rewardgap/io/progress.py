"""Progress bars on standard error."""

import sys
from collections.abc import Iterable, Sized
from typing import Never, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], label: str, *, unit: str = "it", initial: int = 0, shown: bool = True
) -> "tqdm[Item]":
    """Iterate with a bar on a terminal only and not for a single item.

    `initial` items were done before. Without `shown` there is no bar, such as in all processes but
    one.
    """
    count = len(items) if isinstance(items, Sized) else None
    return tqdm(
        items,
        label,
        total=None if count is None else initial + count,
        leave=False,
        unit=unit,
        initial=initial,
        disable=not shown or not sys.stderr.isatty() or (count is not None and count < 2),
    )


def progress_of_work(total: float, done: float) -> "tqdm[Never]":
    """Return a bar with the time left that the caller updates; off a terminal it prints lines."""
    shape, end = ("|{bar}|", "") if sys.stderr.isatty() else ("", "\n")
    return tqdm(
        total=total,
        initial=done,
        bar_format=f"{{desc}}{{percentage:3.0f}}% {shape} {{elapsed}}, {{remaining}} left{end}",
    )
