"""Equations 4, 5 and 8 for a kind of reward model: from what it says of its last layer, to numbers.

`explain` multiplies gradients with each other, token by token; `forecast` needs a vector for each
response, whose inner products are those of the gradients: the features.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rewardgap.dynamics.equations import (
    GradientSums,
    TokenGradients,
    gradient_kernel,
    residuals,
    reward_changes,
    step_weight,
)
from rewardgap.dynamics.projection import GradientProjector
from rewardgap.models.kinds.gradients import Pull, Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.language_model import CHUNK_VALUES


def token_gradients(
    model: TrainedRewardModel, terms: Terms, states: ResponseStates
) -> TokenGradients:
    """Return the gradients of read-outs in the last layer, without their weights, in float32.

    A soft cap or a scale of the logits is part of them. The residuals are over the outputs that are
    read: the head's one, the logits of a combination, or the whole vocabulary.
    """
    hidden = states.hidden[terms.positions]
    if terms.targets is not None:
        logits = model.vocabulary.logits(hidden)
        by_logit = residuals(terms.targets, logits.softmax(-1))
    elif terms.logits is not None:
        tokens = torch.tensor(list(terms.logits), device=hidden.device)
        logits = model.vocabulary.logits_of(hidden, tokens.expand(len(hidden), -1))
        by_logit = logits.new_tensor(list(terms.logits.values())).expand_as(logits)
    else:
        states_read = hidden.float()
        return TokenGradients(states_read.new_ones(len(states_read), 1), states_read)
    return TokenGradients(model.vocabulary.by_product(by_logit, logits), hidden.float())


def gradient_sums(model: TrainedRewardModel, terms: Terms, states: ResponseStates) -> GradientSums:
    """Return the gradients of the values of all responses of a pack."""
    tokens = token_gradients(model, terms, states)
    return GradientSums(tokens, terms.weights, terms.responses, len(states.pack.response_lengths))


def contributions(
    explained: GradientSums,
    slopes: Tensor,
    model: TrainedRewardModel,
    states: ResponseStates,
    rewards: Tensor,
) -> Tensor:
    """Return (M, P), what a step on each pair of a pack alone adds, per unit of learning rate.

    The slopes are (M,) derivatives of the explained rewards by the M values whose gradients are
    given; the (L,) rewards are those of the training responses.
    """
    count = len(states.pack.response_lengths)
    kernel = explained.weights.new_zeros(explained.count, count)
    size = max(1, CHUNK_VALUES // explained.tokens.residuals.shape[1])
    for block in _blocks(model.loss_terms(states.pack), size):
        kernel += gradient_kernel(explained, gradient_sums(model, block, states))
    pulls = model.pulls(states.pack)
    moved = [(pull.responses, pull_factors(model, pull, states, rewards)) for pull in pulls]
    return reward_changes(kernel, slopes, moved)


def pull_factors(
    model: TrainedRewardModel, pull: Pull, states: ResponseStates, rewards: Tensor
) -> Tensor:
    """Return (P,) what a descent step multiplies the gradients of the pulled responses by.

    A pairwise loss (eq. 3) has the factor g; a pointwise one (eq. 7) has none.
    """
    pack = states.pack
    if model.pointwise:
        return torch.full_like(rewards[pack.chosen], pull.factor)
    return pull.factor * step_weight(rewards[pack.chosen], rewards[pack.rejected])


@dataclass(frozen=True)
class SampledResponse:
    """Log-probabilities of one response, at all of its positions or at some with larger weights.

    `has_first` tells whether its first position is among them; random numbers are its own.
    """

    terms: Terms
    has_first: bool
    random: np.random.Generator


def sample_responses(
    terms: Terms, lengths: Sequence[int], most: int | None, seed: int = 0
) -> list[SampledResponse]:
    """Sample `most` positions of each longer response, at even distances from a random start.

    The terms are log-probabilities of all tokens of responses of these lengths; `most` may be None.
    A draw depends on the seed and the tokens of its response, on nothing else.
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


def linear_features(model: TrainedRewardModel, terms: Terms, states: ResponseStates) -> Tensor:
    """Return (L, A · D) gradients of values that are linear in A outputs of the last layer."""
    gradients = token_gradients(model, terms, states)
    outer = gradients.residuals[:, :, None] * gradients.hidden[:, None]
    weighted = terms.weights[:, None] * outer.flatten(1)
    total = weighted.new_zeros(len(states.pack.response_lengths), weighted.shape[1])
    return total.index_add_(0, terms.responses, weighted)


def project_features(
    model: TrainedRewardModel,
    responses: Sequence[SampledResponse],
    states: ResponseStates,
    projector: GradientProjector,
    values: Tensor,
    test_vectors: Mapping[int, Tensor],
) -> Tensor:
    """Add projected gradients of weighted sums of log-probabilities (eq. 5); return the (L,) sums.

    A test vector is the gradient of Σ_k √(w_k / 2) (± z_v ∓ z_v'), with the logits z of two tokens
    drawn from π at every position k but the first: if training changes the logits by δ, the square
    of what it adds to that sum is on average Σ_k w_k Var δ. At their first position the responses
    to a prompt have the same state, so that what they lose there cancels in every margin.

    Args:
        model: The reward model.
        responses: L responses, at all or at some of their positions.
        states: Hidden states of these positions.
        projector: How gradients are projected.
        values: (L, W) to add the gradients to.
        test_vectors: For some responses a (W,) vector to add the test vector to.
    """
    vocabulary, sums = model.vocabulary, values.new_zeros(len(values))
    size = max(1, CHUNK_VALUES // vocabulary.layer.out_features)
    # Response by response, so that no softmax of a whole pack is held.
    for index, response in enumerate(responses):
        is_first = response.has_first
        for terms in _blocks(response.terms, size):
            assert terms.targets is not None
            hidden = states.hidden[terms.positions]
            logits, hidden = vocabulary.logits(hidden), hidden.float()
            probabilities = logits.softmax(-1)
            by_product = vocabulary.by_product(residuals(terms.targets, probabilities), logits)
            projector.outer(values[index], by_product, terms.weights[:, None] * hidden)
            log_probs = logits.gather(1, terms.targets[:, None])[:, 0] - logits.logsumexp(-1)
            sums[index] += terms.weights @ log_probs
            if index in test_vectors:
                drawn, signs = draw_logit_pairs(probabilities, response.random, is_first)
                scaled = (terms.weights[:, None] / 2).sqrt() * signs
                factors = vocabulary.by_product(scaled, logits.gather(1, drawn))
                rows = (factors[:, :, None] * hidden[:, None]).flatten(0, 1)
                projector.rows(test_vectors[index], drawn.flatten(), rows)
            is_first = False
    return sums


def _blocks(terms: Terms, size: int) -> Iterator[Terms]:
    """Yield the same terms, at most `size` at once, as views."""
    for start in range(0, len(terms.positions), size):
        yield terms.select(slice(start, start + size))
