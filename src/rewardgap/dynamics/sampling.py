"""What the forecast draws at random: positions of long responses, and pairs of logits.

A draw depends on the tokens of its response alone: not on the other responses, nor on the device.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rewardgap.models.kinds.gradients import Terms

LogitPairs = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SampledResponse:
    """One response, at all of its positions or at some that represent all.

    Attributes:
        terms: Log-probabilities there; those at some positions have larger weights.
        begins: Whether the response's first position is the first of these.
        random: Of the response.
    """

    terms: Terms
    begins: bool
    random: np.random.Generator


def sample_responses(
    terms: Terms, lengths: Sequence[int], most: int | None, seed: int = 0
) -> list[SampledResponse]:
    """Sample `most` positions of each longer response, at even distances from a random start.

    Args:
        terms: Log-probabilities of all response tokens.
        lengths: Number of tokens of each response.
        most: Positions of a response; None for all.
        seed: Of the draws.
    """
    responses = []
    for start, length in zip(np.cumsum([0, *lengths]).tolist(), lengths, strict=False):
        of_response = terms.select(slice(start, start + length))
        assert of_response.targets is not None
        name = repr(of_response.targets.tolist()).encode()
        random = np.random.default_rng([seed, zlib.crc32(name)])
        begins = True
        if most is not None and length > most:
            share = length / most
            indices = ((np.arange(most) + random.random()) * share).astype(int)
            begins = bool(indices[0] == 0)
            of_response = of_response.select(torch.from_numpy(indices).to(terms.tokens.device))
            of_response = replace(of_response, weights=share * of_response.weights)
        responses.append(SampledResponse(of_response, begins, random))
    return responses


def draw_logit_pairs(
    probabilities: Tensor, random: np.random.Generator, is_first: bool
) -> LogitPairs:
    """Draw two tokens at every position, and for their logits the factor ±1 and its opposite.

    Args:
        probabilities: (T, V) at T positions of a response.
        random: Of the response.
        is_first: Whether the first of them is the response's first; its factors are then 0.

    Returns:
        (T, 2) token ids and (T, 2) factors.
    """
    positions, vocabulary = probabilities.shape
    uniform = torch.from_numpy(random.random((positions, 2), dtype=np.float32))
    drawn = torch.searchsorted(probabilities.cumsum(-1), uniform.to(probabilities.device))
    signs = torch.from_numpy(random.choice([-1.0, 1.0], size=(positions, 1)))
    signs[: int(is_first)] = 0
    opposed = torch.cat([signs, -signs], dim=1).to(probabilities)
    return drawn.clamp(max=vocabulary - 1), opposed
