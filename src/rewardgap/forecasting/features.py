"""Features of responses, and the kernels between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

# Columns multiplied at once in float64.
KERNEL_COLUMNS = 4096


@dataclass(frozen=True)
class Features:
    """What is read of the R responses of a pack.

    Attributes:
        values: (R, W) float32 gradients of the scores, or a sketch of them.
        scores: (R,) the scores before training.
        probes: (M, W) gradients of random sums of logits for M of the responses, or a sketch of
            them: with w the weights, ⟨w, probe⟩² is on average what the score of the response loses
            twice over because the softmax is not linear. (0, W) where the score is linear.
    """

    values: Tensor
    scores: Tensor
    probes: Tensor

    @classmethod
    def join(cls, parts: Sequence["Features"]) -> "Features":
        """The features of several packs, one after the other, in main memory."""
        return cls(
            torch.cat([part.values.cpu() for part in parts]),
            torch.cat([part.scores.cpu() for part in parts]),
            torch.cat([part.probes.cpu() for part in parts]),
        )


def kernel(left: Tensor, right: Tensor) -> Array:
    """(R, N) inner products of (R, W) and (N, W) vectors, summed in float64.

    In float32 rounding would pass for directions in which no data lie.
    """
    total = np.zeros((len(left), len(right)))
    sides = left.split(KERNEL_COLUMNS, dim=1), right.split(KERNEL_COLUMNS, dim=1)
    for some, others in zip(*sides, strict=True):
        total += (some.double() @ others.double().T).numpy()
    return total
