"""Random projections of gradients: shorter vectors with the same inner products, on average.

A gradient is one vector of all its entries, row after row of the last layer. Its projection gives
every entry a random sign and adds the entries up in W buckets, the k-th entry in bucket k mod W.
Inner products of projections are those of the gradients plus noise of mean zero and a standard
deviation of about √(2/W − 2/P) of the product of the norms, with P the number of entries; with
W = P nothing is lost. The gradient of a score in an (R, C) matrix is a sum of outer products a hᵀ,
one for each token. The sign of an entry is that of its row times that of its column, so that it can
be given to a and h before they are multiplied; W is prime where it is less than P, so that no two
rows fall on top of each other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, sqrt

import numpy as np
import torch
from torch import Tensor

from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

# Entries of a gradient that are written out at once: 2**22 float32 values are 16 MiB.
BLOCK_VALUES = 2**22
# A forecast from products that err by more is about the projection rather than the data.
LARGEST_ERROR = 0.1
GIB = 2**30


@dataclass(frozen=True)
class RandomProjection:
    """How gradients of P entries are projected to W numbers, the size; a seed gives the signs."""

    size: int
    entries: int
    seed: int

    @classmethod
    def fitting(
        cls, entries: int, memory: int, bytes_per_value: int, most: int, seed: int
    ) -> "RandomProjection":
        """Return the largest projection that is worth its time, of a size up to `most`.

        All features held at once, with that number of bytes per value, fit into the memory.

        Raises:
            UserError: If the memory is too small for products to mean anything.
        """
        size = min(entries, memory // bytes_per_value, most)
        projection = cls(entries if size == entries else _prime(size), entries, seed)
        if projection.error > LARGEST_ERROR:
            least = 2 / (LARGEST_ERROR**2 + 2 / entries)
            enough = 1.2 * least * bytes_per_value / GIB  # room for the next prime and for rounding
            raise UserError(
                f"memory {memory / GIB:.2g} (GiB) holds {projection.size} of the {entries} numbers "
                f"of a gradient, with which products err by {projection.error:.0%} of the norms: "
                f"raise --memory to {enough:.2g}"
            )
        logger.debug("a gradient is kept as %d of its %d numbers", projection.size, entries)
        return projection

    @classmethod
    def whole(cls, entries: int) -> "RandomProjection":
        """Return one that keeps every entry."""
        return cls(entries, entries, 0)

    @property
    def noise(self) -> float:
        """Expected square of a product that is in truth zero, as a share of the norms' squares.

        It is the chance that two entries share a bucket.
        """
        return max(0.0, 1 / self.size - 1 / self.entries)

    @property
    def error(self) -> float:
        """Standard deviation of a product of projections, as a share of the product of norms."""
        return sqrt(2 * self.noise)

    def to_json(self) -> dict[str, float]:
        """Return what forecast.json says of it."""
        return {"kept": self.size, "entries": self.entries, "error": self.error}

    def projector(self, shape: Sequence[int], device: torch.device) -> "GradientProjector":
        """Return the projector of gradients in a matrix of this (R, C) shape, with P entries."""
        rows, columns = shape
        random = np.random.default_rng([self.seed, 0])
        signs = random.integers(0, 2, size=rows + columns, dtype=np.int8)
        values = torch.from_numpy(signs).to(device).float() * 2 - 1
        return GradientProjector(values[:rows], values[rows:])


@dataclass(frozen=True)
class GradientProjector:
    """Adds gradients in one matrix to projections, by (R,) and (C,) signs in float32."""

    row_signs: Tensor
    column_signs: Tensor

    def outer(self, total: Tensor, first: Tensor, second: Tensor) -> None:
        """Add Σ_t first[t] second[t]ᵀ, from (T, R) and (T, C), to a (W,) projection."""
        columns = len(self.column_signs)
        second = second.float() * self.column_signs
        rows = max(1, BLOCK_VALUES // columns)
        for start in range(0, len(self.row_signs), rows):
            signed = first[:, start : start + rows].float() * self.row_signs[start : start + rows]
            _fold(total, (signed.T @ second).flatten(), start * columns)

    def rows(self, total: Tensor, rows: Tensor, values: Tensor) -> None:
        """Add a gradient of few rows to a (W,) projection: (T, C) values, in (T,) rows."""
        columns = torch.arange(values.shape[1], device=values.device)
        entries = rows[:, None] * values.shape[1] + columns
        signed = values.float() * self.column_signs * self.row_signs[rows][:, None]
        total.index_add_(0, (entries % len(total)).flatten(), signed.flatten())


def _fold(total: Tensor, entries: Tensor, start: int) -> None:
    """Add consecutive entries, the first one with index `start`, to their buckets."""
    size = len(total)
    start %= size
    before, entries = entries[: size - start], entries[size - start :]
    total[start : start + len(before)] += before
    whole = len(entries) // size * size
    if whole:
        total += entries[:whole].view(-1, size).sum(0)
    total[: len(entries) - whole] += entries[whole:]


def _prime(most: int) -> int:
    """Return the largest prime that is at most `most`, but at least 2."""
    number = max(2, most)
    while any(number % divisor == 0 for divisor in range(2, isqrt(number) + 1)):
        number -= 1
    return number
