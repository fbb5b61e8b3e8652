"""Features of responses, and the kernels between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Columns multiplied at once in float64.
KERNEL_COLUMNS = 2048


@dataclass(frozen=True)
class Features:
    """What a forecast knows of responses, or of training rows.

    Attributes:
        values: (R, W) float32 gradients of R scores, or a sketch of them.
        scores: (R,) the scores before training.
    """

    values: Tensor
    scores: Tensor

    def pick(self, rows: Tensor) -> "Features":
        """The features at some positions."""
        return Features(self.values[rows], self.scores[rows])

    def __sub__(self, other: "Features") -> "Features":
        """Features of differences of scores."""
        return Features(self.values - other.values, self.scores - other.scores)

    def __neg__(self) -> "Features":
        """Features of the negated scores."""
        return Features(-self.values, -self.scores)


def concatenate(parts: Sequence[Features]) -> Features:
    """The features of all parts, one after the other."""
    values, scores = [part.values for part in parts], [part.scores for part in parts]
    return Features(torch.cat(values), torch.cat(scores))


def kernel(evaluation: Features, training: Features) -> Array:
    """(R, N) inner products of R evaluation and N training rows, summed in float64."""
    total = np.zeros((len(evaluation.scores), len(training.scores)))
    sides = (side.values.split(KERNEL_COLUMNS, dim=1) for side in (evaluation, training))
    for left, right in zip(*sides, strict=True):
        total += (left.double() @ right.double().T).cpu().numpy()
    return total
