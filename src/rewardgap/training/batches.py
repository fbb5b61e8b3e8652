"""Which records each optimiser step learns from, as a function of the seed alone."""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**16
"""records that are looked at together"""

_Plan: TypeAlias = "tuple[NDArray[np.int32], array[int] | range]"


class BatchSampler:
    """Indices of the records of every optimiser step of a run, one step after the other.

    Each epoch visits every record once, in an order drawn from (seed, epoch). A step takes records
    while they hold at most `batch_size` pairs, and always at least one; the last step of an epoch
    may be smaller. A single epoch's order is in memory, and nothing is remembered between steps,
    so that a resumed run needs only a number.

    Args:
        pairs: number of pairs of every training record.
        batch_size: pairs a step.
        epochs: passes over the records.
        seed: of the run.
        most: steps after which the run ends although its epochs have more; None for all.
    """

    def __init__(
        self,
        pairs: Sequence[int] | NDArray[np.integer],
        batch_size: int,
        epochs: int,
        seed: int,
        most: int | None = None,
    ):
        self._pairs = np.asarray(pairs)
        self._batch_size = batch_size
        self._seed = seed
        self._regular = self._regular_starts()
        counts = (len(self._regular or self._plan(epoch)[1]) for epoch in range(epochs))
        self._last_steps = list(accumulate(counts))
        self._most = most
        self._planned: tuple[int, _Plan] | None = None

    def __len__(self) -> int:
        total = self._last_steps[-1]
        return total if self._most is None else min(total, self._most)

    def __getitem__(self, step: int) -> list[int]:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch = next(i for i, last in enumerate(self._last_steps) if step < last)
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        order, starts = self._planned[1]
        first = step - (self._last_steps[epoch - 1] if epoch else 0)
        stop = starts[first + 1] if first + 1 < len(starts) else len(order)
        indices: list[int] = order[starts[first] : stop].tolist()
        return indices

    def epochs_done(self, steps: int) -> float:
        """How many passes over the records have been made after so many steps."""
        return steps * len(self._last_steps) / self._last_steps[-1]

    def _plan(self, epoch: int) -> _Plan:
        """An epoch's order of the records, and where in it each step begins."""
        order = np.arange(len(self._pairs), dtype=np.int32)
        np.random.default_rng([self._seed, epoch]).shuffle(order)
        return order, self._regular or self._starts(order)

    def _regular_starts(self) -> range | None:
        """Where steps begin in any order, if all records have the same number of pairs."""
        pairs = self._pairs
        if pairs.min() < pairs.max():
            return None
        return range(0, len(pairs), max(1, self._batch_size // int(pairs[0])))

    def _starts(self, order: NDArray[np.int32]) -> "array[int]":
        """Where steps begin in an order."""
        starts, room = array("l"), 0
        for begin in range(0, len(order), BLOCK):
            counts = self._pairs[order[begin : begin + BLOCK]].tolist()
            for position, count in enumerate(counts, start=begin):
                if position == 0 or count > room:
                    starts.append(position)
                    room = self._batch_size
                room -= count
        return starts
