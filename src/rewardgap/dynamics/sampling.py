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


@dataclass(frozen=True)
class SampledResponse:
    """One response, at all of its positions or at some that represent all.

    Attributes:
        terms: Log-probabilities there; those at some positions have larger weights.
        has_first: Whether the response's first position is the first of these.
        random: Of the response.
    """

    terms: Terms
    has_first: bool
    random: np.random.Generator


def sample_responses(
    terms: Terms, lengths: Sequence[int], most: int | None, seed: int = 0
) -> list[SampledResponse]:
    """Sample `most` positions of each longer response, at even distances from a random start.

    The terms are log-probabilities of all tokens of responses of these lengths; `most` may be None.
    """
    responses = []
    for start, length in zip(np.cumsum([0, *lengths]).tolist(), lengths, strict=False):
        of_response = terms.select(slice(start, start + length))
        assert of_response.targets is not None
        name = repr(of_response.targets.tolist()).encode()
        random = np.random.default_rng([seed, zlib.crc32(name)])
        has_first = True
        if most is not None and length > most:
            share = length / most
            indices = ((np.arange(most) + random.random()) * share).astype(int)
            has_first = bool(indices[0] == 0)
            of_response = of_response.select(torch.from_numpy(indices).to(terms.tokens.device))
            of_response = replace(of_response, weights=share * of_response.weights)
        responses.append(SampledResponse(of_response, has_first, random))
    return responses


def draw_logit_pairs(
    probabilities: Tensor, random: np.random.Generator, is_first: bool
) -> tuple[Tensor, Tensor]:
    """Draw (T, 2) tokens by (T, V) probabilities, and for their logits (T, 2) factors ±1 and ∓1.

    Where the first position is the first of the response its factors are 0.
    """
    positions, vocabulary = probabilities.shape
    uniform = torch.from_numpy(random.random((positions, 2), dtype=np.float32))
    drawn = torch.searchsorted(probabilities.cumsum(-1), uniform.to(probabilities.device))
    signs = torch.from_numpy(random.choice([-1.0, 1.0], size=(positions, 1)))
    signs[: int(is_first)] = 0
    opposed = torch.cat([signs, -signs], dim=1).to(probabilities)
    return drawn.clamp(max=vocabulary - 1), opposed
