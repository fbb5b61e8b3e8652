"""Progress of work on standard error: bars on a terminal, lines of the log elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import repeat
from typing import Generic, Never, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_PER_LINE: ContextVar[float] = ContextVar("seconds between two lines", default=30.0)
BAR = "{desc}: {percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt} {unit}{postfix}, {elapsed}, "
BAR += "{remaining} left"

Item = TypeVar("Item")


@dataclass
class Progress(Generic[Item]):
    """Items to iterate over: with a bar on a terminal, elsewhere with a line now and then.

    Lines are messages of the level INFO, `SECONDS_PER_LINE` apart.

    Attributes:
        items: The items.
        label: What is done with them.
        unit: What is counted.
        sizes: How many units each item is; by default, one.
        initial: How many units were done before.
        shown: Whether anything is shown, such as in all processes but one.
    """

    items: Iterable[Item]
    label: str
    unit: str
    sizes: Sequence[int] | None = None
    initial: int = 0
    shown: bool = True
    figures: str = field(default="", init=False)

    def say(self, **figures: float) -> None:
        """Show figures from now on, such as the loss."""
        self.figures = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())

    def __iter__(self) -> Iterator[Item]:
        if not self.shown:
            yield from self.items
            return
        began = said = time.monotonic()
        done = self.initial
        with self._bar() as bar:
            for item, size in zip(self.items, self.sizes or repeat(1), strict=False):
                yield item
                done += size
                bar.postfix = self.figures
                bar.update(size)
                now = time.monotonic()
                if bar.disable and now - said >= SECONDS_PER_LINE.get():
                    said = now
                    logger.info("%s", self._line(done, now - began))

    @property
    def total(self) -> int | None:
        """The units in all, if the number of items is known."""
        if self.sizes is not None:
            return self.initial + sum(self.sizes)
        return self.initial + len(self.items) if isinstance(self.items, Sized) else None

    def _bar(self) -> "tqdm[Never]":
        alone = isinstance(self.items, Sized) and len(self.items) < 2
        total = self.total
        return tqdm(
            desc=self.label,
            file=sys.stderr,
            total=total,
            leave=False,
            unit=self.unit if total else f" {self.unit}",
            unit_scale=self.sizes is not None,
            initial=self.initial,
            bar_format=BAR if total else None,
            disable=alone or not sys.stderr.isatty() or is_quiet(),
        )

    def _line(self, done: int, seconds: float) -> str:
        total = self.total
        of = "" if total is None else f" of {total:,}"
        parts = [f"{self.label}: {done:,}{of} {self.unit}", self.figures, duration(seconds)]
        if total is not None:
            left = seconds / (done - self.initial) * (total - done)
            parts.append(f"{duration(left)} left")
        return ", ".join(filter(None, parts))


def progress(
    items: Iterable[Item],
    label: str,
    *,
    unit: str = "steps",
    sizes: Sequence[int] | None = None,
    initial: int = 0,
    shown: bool = True,
) -> Progress[Item]:
    """Return items to iterate over with their progress, see `Progress`."""
    return Progress(items, label, unit, sizes, initial, shown)


class WorkProgress:
    """Tasks of known cost: a bar with the time left on a terminal, elsewhere a line for each."""

    def __init__(self, total: float, done: float):
        self.total, self.initial, self.done = total, done, done
        self._began = time.monotonic()
        self._bar: tqdm[Never] = tqdm(
            file=sys.stderr,
            total=total,
            initial=done,
            bar_format="{desc}{percentage:3.0f}% |{bar}| {elapsed}, {remaining} left",
            disable=not sys.stderr.isatty() or is_quiet(),
        )

    def begin(self, task: str) -> None:
        """Show what is being done."""
        self._bar.set_description(task)

    def finish(self, task: str, cost: float) -> None:
        """Count a task that is done."""
        self.done += cost
        self._bar.update(cost)
        if self._bar.disable and self.done > self.initial:
            seconds = time.monotonic() - self._began
            left = seconds / (self.done - self.initial) * (self.total - self.done)
            share = self.done / self.total
            times = f"{duration(seconds)}, {duration(left)} left"
            logger.info("%s: finished; %.0f%% of all is done, %s", task, 100 * share, times)

    def close(self) -> None:
        """Remove the bar's line of the terminal, or leave it as it is."""
        self._bar.close()


def is_quiet() -> bool:
    """Return whether the package was told to give nothing but warnings."""
    return logging.getLogger("rewardgap").level > logging.INFO


def duration(seconds: float) -> str:
    """Return a time in words, such as "40 s", "3 min" or "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
