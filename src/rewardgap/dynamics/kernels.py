"""Kernels between many pairs: the inner products of the gradients of their rewards.

A kernel K has evaluation quantities in rows and training steps in columns. It leaves out the
learning rate η and the factor g (`dynamics.step_weight`), which changes at every step. With one
training pair, Δ(margin of the evaluation pair) = η g K; with the mean loss over N training pairs,
Δ = η/N Σ_j g_j K_·j. The generative loss (eq. 7) has no g: its residuals shrink instead.

Hidden states are fixed, as in `dynamics`. The explicit kernel is then constant in training; the
others are those of the weights at which the residuals were taken, so their margins are right up to
O(η²). Responses are ragged: tokens lie one after the other, each with the number of its owner.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rewardgap.dynamics.equations import TokenGradients, token_contributions


def explicit_kernel(evaluation: Tensor, training: Tensor) -> Tensor:
    """Return K_EX = ⟨φ̄, φ⟩ between pairs, φ = h(x, y⁺) − h(x, y⁻).

    Args:
        evaluation: (M, D) differences φ̄ of the evaluation pairs.
        training: (N, D) differences φ of the training pairs.

    Returns:
        (M, N). The gradient-descent path of the margins in this kernel is exact.
    """
    return evaluation @ training.T


@dataclass(frozen=True)
class GradientSums:
    """Gradients in U of `count` quantities, each a weighted sum of token gradients.

    Attributes:
        tokens: The T tokens of all quantities, in any order.
        weights: (T,) weight of every token.
        owners: (T,) which quantity each token belongs to, in 0 … count − 1, int64.
        count: Number of quantities; one without tokens has gradient 0.
    """

    tokens: TokenGradients
    weights: Tensor
    owners: Tensor
    count: int

    def __post_init__(self) -> None:
        """Raise ValueError unless there is one weight and one owner for every token."""
        length = (len(self.tokens.hidden),)
        if self.weights.shape != length or self.owners.shape != length:
            raise ValueError(f"{length[0]} tokens need as many weights and owners")


def implicit_rewards(
    tokens: TokenGradients, responses: Tensor, count: int, beta: float
) -> GradientSums:
    """Return the gradients of implicit rewards, one for every response.

    Cheaper than `implicit_pairs` where a response is in several pairs: `pair_kernel` then turns
    the kernel of the responses into that of the pairs.

    Args:
        tokens: The T tokens of all responses.
        responses: (T,) which response each token belongs to.
        count: Number of responses.
        beta: β of the reward; 1 for the variant without reference.
    """
    return GradientSums(tokens, tokens.hidden.new_full((len(responses),), beta), responses, count)


def implicit_pairs(
    tokens: TokenGradients, pairs: Tensor, is_chosen: Tensor, count: int, beta: float
) -> GradientSums:
    """Return the gradients of implicit margins r(x, y⁺) − r(x, y⁻), one for every pair.

    Args:
        tokens: The T tokens of the responses of all pairs.
        pairs: (T,) which pair each token belongs to.
        is_chosen: (T,) bool, true in chosen responses.
        count: Number of pairs.
        beta: β of the reward; 1 for the variant without reference.
    """
    weights = beta * (2 * is_chosen.to(tokens.hidden.dtype) - 1)
    return GradientSums(tokens, weights, pairs, count)


def generative_steps(chosen_yes: TokenGradients, rejected_no: TokenGradients) -> GradientSums:
    """Return the descent directions of eq. 7: raise Yes at I[x, y⁺] and No at I[x, y⁻].

    Args:
        chosen_yes: Yes at the verification prompt of each of N chosen responses.
        rejected_no: No at that of each rejected one, in the same order.

    Returns:
        N sums, the training side of a kernel. The optional term −λ ln π(y⁺ given x) adds λ times
        the kernel of `implicit_rewards` of the chosen responses (with β = 1).
    """
    ones = chosen_yes.hidden.new_ones(len(chosen_yes.hidden))
    return _stack([(chosen_yes, ones), (rejected_no, ones)])


def generative_margins(
    chosen_yes: TokenGradients,
    rejected_yes: TokenGradients,
    chosen_probabilities: Tensor,
    rejected_probabilities: Tensor,
) -> GradientSums:
    """Return the gradients of generative margins π(Yes given I[x, y⁺]) − π(Yes given I[x, y⁻]).

    Args:
        chosen_yes: Yes at the verification prompt of each of M chosen responses.
        rejected_yes: Yes at that of each rejected one, in the same order.
        chosen_probabilities: (M,) π(Yes) there, for the chosen responses.
        rejected_probabilities: (M,) the same for the rejected ones.
    """
    return _stack([(chosen_yes, chosen_probabilities), (rejected_yes, -rejected_probabilities)])


def generative_log_odds(
    chosen_yes: TokenGradients,
    chosen_no: TokenGradients,
    rejected_yes: TokenGradients,
    rejected_no: TokenGradients,
) -> GradientSums:
    """Return the gradients of margins in the log-odds ln π(Yes) − ln π(No).

    The log-odds are linear in U, so that their change by one step is exact. They are sure to rank
    responses as P(Yes) does only where Yes and No take all the probability.

    Args:
        chosen_yes: Yes at the verification prompt of each of M chosen responses.
        chosen_no: No at the same prompts.
        rejected_yes: Yes at those of the rejected responses, in the same order.
        rejected_no: No at the same prompts.
    """
    ones = chosen_yes.hidden.new_ones(len(chosen_yes.hidden))
    signed = [(chosen_yes, ones), (chosen_no, -ones), (rejected_yes, -ones), (rejected_no, ones)]
    return _stack(signed)


def _stack(parts: list[tuple[TokenGradients, Tensor]]) -> GradientSums:
    """Return the sums whose n-th is made of the n-th token of every part, with its weight."""
    count = len(parts[0][1])
    tokens = TokenGradients(
        torch.cat([part.residuals for part, _ in parts]),
        torch.cat([part.hidden for part, _ in parts]),
    )
    owners = torch.arange(count, device=tokens.hidden.device).repeat(len(parts))
    return GradientSums(tokens, torch.cat([weights for _, weights in parts]), owners, count)


def gradient_kernel(
    evaluation: GradientSums, training: GradientSums, block_tokens: int = 2048
) -> Tensor:
    """Return the exact inner products of gradients: K_IM, K_G, or any mixture of kinds.

    For S evaluation and T training tokens it takes S · T · (V + D) multiplications; the memory
    beyond input and output is bounded by about block_tokens · (2 block_tokens + M) numbers.

    Args:
        evaluation: M quantities whose change is asked for, such as `implicit_pairs`.
        training: N directions of descent, such as `implicit_pairs` or `generative_steps`.
        block_tokens: Tokens of either side in one block, > 0.

    Returns:
        (M, N).
    """
    kernel = evaluation.weights.new_zeros(evaluation.count, training.count)
    for start in range(0, len(training.weights), block_tokens):
        stop = start + block_tokens
        columns = _sum_over_evaluation(evaluation, training.tokens.part(start, stop), block_tokens)
        kernel.index_add_(1, training.owners[start:stop], columns * training.weights[start:stop])
    return kernel


def _sum_over_evaluation(
    evaluation: GradientSums, training: TokenGradients, block_tokens: int
) -> Tensor:
    """Return (M, T): the inner products of M evaluation sums and T single training tokens."""
    rows = evaluation.weights.new_zeros(evaluation.count, len(training.hidden))
    for start in range(0, len(evaluation.weights), block_tokens):
        stop = start + block_tokens
        block = token_contributions(evaluation.tokens.part(start, stop), training)
        block *= evaluation.weights[start:stop, None]
        rows.index_add_(0, evaluation.owners[start:stop], block)
    return rows


def pair_kernel(kernel: Tensor, evaluation_pairs: Tensor, training_pairs: Tensor) -> Tensor:
    """Return the kernel of reward margins from the kernel of rewards.

    Args:
        kernel: (R̄, R) inner products of the gradients of single rewards.
        evaluation_pairs: (M, 2) row numbers of the chosen and the rejected response of every pair.
        training_pairs: (N, 2) column numbers likewise.

    Returns:
        (M, N) inner products of the gradients of r(x, y⁺) − r(x, y⁻).
    """
    rows = kernel[evaluation_pairs[:, 0]] - kernel[evaluation_pairs[:, 1]]
    return rows[:, training_pairs[:, 0]] - rows[:, training_pairs[:, 1]]
