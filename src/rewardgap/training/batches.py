"""Which records each optimiser step learns from."""

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**16
"""Number of records whose sizes are Python integers together."""


class BatchSampler:
    """A batch sampler: the indices of the records of every optimiser step, a function of the seed.

    Each epoch visits every record once, in an order drawn from (seed, epoch). A step takes records
    while their sizes sum to at most `batch_size`, and always at least one; the last step of an
    epoch may be smaller. Only the order of a single epoch is in memory, and nothing is remembered
    between steps, so that a resumed run needs only a number. `sizes` are in pairs or in tokens;
    after `max_steps` the run ends before its epochs do.
    """

    def __init__(
        self,
        sizes: Sequence[int] | NDArray[np.integer],
        batch_size: int,
        epochs: int,
        seed: int,
        max_steps: int | None = None,
    ):
        self._sizes = np.asarray(sizes)
        self._batch_size = batch_size
        self._seed = seed
        self._regular: range | None = None  # where steps begin if all records have the same size
        if self._sizes.min() == self._sizes.max():
            records = max(1, batch_size // int(self._sizes[0]))
            self._regular = range(0, len(self._sizes), records)
        self._plan = lru_cache(maxsize=1)(self._compute_plan)
        counts = (len(self._regular or self._plan(epoch)[1]) for epoch in range(epochs))
        self._last_steps = list(accumulate(counts))
        self._max_steps = max_steps

    def __len__(self) -> int:
        total = self._last_steps[-1]
        return total if self._max_steps is None else min(total, self._max_steps)

    def __getitem__(self, step: int) -> list[int]:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch = next(i for i, last in enumerate(self._last_steps) if step < last)
        order, starts = self._plan(epoch)
        first = step - (self._last_steps[epoch - 1] if epoch else 0)
        stop = starts[first + 1] if first + 1 < len(starts) else len(order)
        indices: list[int] = order[starts[first] : stop].tolist()
        return indices

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.__getitem__, range(len(self)))

    def epochs_done(self, steps: int) -> float:
        """Return how many passes over the records `steps` steps are."""
        return steps * len(self._last_steps) / self._last_steps[-1]

    def _compute_plan(self, epoch: int) -> "tuple[NDArray[np.int32], array[int] | range]":
        """Return an epoch's order of the records, and where in it each step begins."""
        order = np.arange(len(self._sizes), dtype=np.int32)
        np.random.default_rng([self._seed, epoch]).shuffle(order)
        return order, self._regular or self._starts(order)

    def _starts(self, order: NDArray[np.int32]) -> "array[int]":
        """Return where steps begin in an order."""
        starts, room = array("l"), 0
        for begin in range(0, len(order), BLOCK):
            sizes = self._sizes[order[begin : begin + BLOCK]].tolist()
            for position, size in enumerate(sizes, start=begin):
                if position == 0 or size > room:
                    starts.append(position)
                    room = self._batch_size
                room -= size
        return starts
