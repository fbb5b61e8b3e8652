"""Sketches of gradients: shorter vectors with the same inner products, on average.

A gradient is one vector of all its entries, matrix after matrix. Its sketch gives every entry a
random sign and adds the entries up in W buckets, the k-th entry in bucket k mod W. Inner products
of sketches are those of the gradients plus noise of mean zero and a standard deviation of about
√(2/W − 2/P) of the product of the norms, with P the number of entries; with W = P nothing is lost.
The gradient of a score in an (R, C) matrix is a sum of outer products a hᵀ, one a token. The sign
of an entry is that of its row times that of its column, so that it can be given to a and h before
they are multiplied; W is prime where it is less than P, so that no two rows fall on top of each
other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, sqrt
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

# Entries of a gradient that are written out at once: 2**22 float32 values are 16 MiB.
BLOCK_VALUES = 2**22
# A forecast from products that err by more is about the sketch rather than the data.
LARGEST_ERROR = 0.1
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What sketches may cost.

    Attributes:
        memory: bytes that all features held at once may take.
        seed: of the random signs.
    """

    memory: int
    seed: int

    def sketch(self, entries: int, bytes_per_value: int, pays: int | None = None) -> "Sketch":
        """The largest sketch within the limits.

        Args:
            entries: P.
            bytes_per_value: memory that all features held at once take for each of their W values.
            pays: a size beyond which more is not worth its time; None for no such size.

        Raises:
            UserError: memory is too small for products to mean anything.
        """
        most = entries if pays is None else pays
        size = min(entries, self.memory // bytes_per_value, most)
        found = Sketch(entries if size == entries else _prime(size), entries, self.seed)
        if found.error > LARGEST_ERROR:
            self._refuse(found, bytes_per_value)
        logger.info("a gradient is kept as %d of its %d numbers", found.size, entries)
        return found

    def _refuse(self, found: "Sketch", bytes_per_value: int) -> NoReturn:
        least = 2 / (LARGEST_ERROR**2 + 2 / found.entries)
        enough = 1.2 * least * bytes_per_value / GIB  # primes lie less far apart, and so do digits
        raise UserError(
            f"memory {self.memory / GIB:.2g} (GiB) holds {found.size} of the {found.entries} "
            f"numbers of a gradient, with which products err by {found.error:.0%} of the norms: "
            f"raise --memory to {enough:.2g}"
        )


@dataclass(frozen=True)
class Sketch:
    """How gradients are shrunk.

    Attributes:
        size: W.
        entries: P.
        seed: of the random signs.
    """

    size: int
    entries: int
    seed: int

    @classmethod
    def whole(cls, entries: int) -> "Sketch":
        """One that keeps every entry."""
        return cls(entries, entries, 0)

    @property
    def noise(self) -> float:
        """Expected square of a product that is in truth zero, as a share of the norms' squares.

        It is the chance that two entries share a bucket.
        """
        return max(0.0, 1 / self.size - 1 / self.entries)

    @property
    def error(self) -> float:
        """Standard deviation of a product of sketches, as a share of the product of the norms."""
        return sqrt(2 * self.noise)

    def to_json(self) -> dict[str, float]:
        """What forecast.json says of it."""
        return {"kept": self.size, "entries": self.entries, "error": self.error}

    def keeper(self, shape: Sequence[int], start: int, device: torch.device) -> "GradientProjector":
        """What is kept of gradients in one matrix.

        Args:
            shape: of the matrix; a vector is one row.
            start: how many entries of the gradient stand before those of the matrix.
            device: where its gradients are computed.
        """
        rows, columns = (1, *shape)[-2:]
        random = np.random.default_rng([self.seed, start])
        signs = random.integers(0, 2, size=rows + columns, dtype=np.int8)
        values = torch.from_numpy(signs).to(device).float() * 2 - 1
        return GradientProjector(values[:rows], values[rows:], start)


class GradientProjector:
    """Adds gradients in one (R, C) matrix to sketches.

    Args:
        row_signs: (R,) signs of the rows, in float32.
        column_signs: (C,) signs of the columns.
        start: number of the first entry.
    """

    def __init__(self, row_signs: Tensor, column_signs: Tensor, start: int):
        self.row_signs = row_signs
        self.column_signs = column_signs
        self.start = start

    def outer(self, total: Tensor, first: Tensor, second: Tensor) -> None:
        """Add Σ_t first[t] second[t]ᵀ, from (T, R) and (T, C), to a (W,) sketch."""
        columns = len(self.column_signs)
        second = second.float() * self.column_signs
        rows = max(1, BLOCK_VALUES // columns)
        for start in range(0, len(self.row_signs), rows):
            signed = first[:, start : start + rows].float() * self.row_signs[start : start + rows]
            _fold(total, (signed.T @ second).flatten(), self.start + start * columns)

    def rows(self, total: Tensor, rows: Tensor, values: Tensor) -> None:
        """Add a gradient with few rows, where values[t] is added to row rows[t], to a sketch.

        Args:
            total: (W,) the sketch.
            rows: (T,) numbers of rows.
            values: (T, C) what is added to them.
        """
        columns = torch.arange(values.shape[1], device=values.device)
        entries = self.start + rows[:, None] * values.shape[1] + columns
        signed = values.float() * self.column_signs * self.row_signs[rows][:, None]
        total.index_add_(0, (entries % len(total)).flatten(), signed.flatten())


def _fold(total: Tensor, entries: Tensor, start: int) -> None:
    """Add consecutive entries, the first one number `start`, to their buckets."""
    size = len(total)
    start %= size
    before, entries = entries[: size - start], entries[size - start :]
    total[start : start + len(before)] += before
    whole = len(entries) // size * size
    if whole:
        total += entries[:whole].view(-1, size).sum(0)
    total[: len(entries) - whole] += entries[whole:]


def _prime(most: int) -> int:
    """The largest prime that is not more, at least 2."""
    number = max(2, most)
    while any(number % divisor == 0 for divisor in range(2, isqrt(number) + 1)):
        number -= 1
    return number
