"""What one step of gradient descent does to rewards: equations 4, 5 and 8.

The paper's assumption 1 holds throughout: hidden states are fixed, and only the head u or the
unembedding U is trained. A reward then changes along one gradient, which has a small form:

- explicit: ∇_u r = h, the hidden state of the last token (or the mean over the response);
- implicit and generative: ∇_U ln π(v given z) = (e_v − π(· given z)) h_zᵀ for every token v, an
  outer product of a *residual* in R^V and a hidden state in R^D. It is never multiplied out:
  ⟨a hᵀ, b kᵀ⟩ = ⟨a, b⟩ ⟨h, k⟩, so two responses meet in two small Gram matrices. With a head all
  residuals are 1.

Under a soft cap (Gemma-2's final one) residuals are scaled, and their products are no longer the
paper's ρ and γ. All functions are pure and keep the device and dtype of their input. `last_layer`
applies them to a kind of reward model.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


def step_weight(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Return g = σ(r(x, y⁻) − r(x, y⁺)), the factor of a Bradley–Terry step (eqs. 4 and 5).

    Rewards of any shape, the same for both; values in (0, 1), ½ where the rewards are equal.
    """
    return torch.sigmoid(rejected_rewards - chosen_rewards)


def residuals(targets: Tensor, probabilities: Tensor) -> Tensor:
    """Return (T, V) e_v − π(· given z), the gradients of ln π(v given z) by the logits.

    Targets are the (T,) ids v, of int64; probabilities π are (T, V).

    Raises:
        ValueError: If the numbers of tokens and rows differ.
        IndexError: If a token is not in the vocabulary.
    """
    if targets.shape != probabilities.shape[:1]:
        raise ValueError(f"{len(targets)} tokens for {len(probabilities)} rows of probabilities")
    values = -probabilities
    values[torch.arange(len(targets), device=targets.device), targets] += 1
    return values


@dataclass(frozen=True)
class TokenGradients:
    """Gradients of T read-outs in the last layer, kept as outer products residuals[t] hidden[t]ᵀ.

    Residuals are (T, V) gradients by its outputs, such as e_v − π; the states read are (T, D).

    Raises:
        ValueError: If the attributes are no matrices with a row for every read-out.
    """

    residuals: Tensor
    hidden: Tensor

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.residuals.ndim != 2 or self.hidden.ndim != 2:
            raise ValueError("residuals and hidden must be matrices with one row for every token")
        if len(self.residuals) != len(self.hidden):
            raise ValueError(f"{len(self.residuals)} residuals for {len(self.hidden)} hidden rows")

    def part(self, rows: slice) -> "TokenGradients":
        """Return some of the read-outs, as views."""
        return TokenGradients(self.residuals[rows], self.hidden[rows])


def coefficients(evaluation: TokenGradients, training: TokenGradients) -> Tensor:
    """Return (S, T) ⟨e_v̄ − π̄, e_v − π⟩ of evaluation and training tokens: ρ of eq. 5, γ of eq. 8.

    - ρ_{k,l} ∈ [−2, 2], response tokens on both sides; ρ > 0 where the tokens are equal.
    - γ(y⁺) ∈ [0, 2], the token Yes on both sides.
    - γ(y⁻) ∈ [−2, 1], Yes in the evaluation and No in the training response.

    At equal tokens ρ underflows to 0 where a probability rounds to 1.
    """
    return evaluation.residuals @ training.residuals.T


def token_contributions(evaluation: TokenGradients, training: TokenGradients) -> Tensor:
    """Return (S, T) coefficients × ⟨h̄, h⟩, the summands of equations 4, 5 and 8.

    They say how much raising each training read-out raises each evaluation read-out.
    """
    return coefficients(evaluation, training) * (evaluation.hidden @ training.hidden.T)


@dataclass(frozen=True)
class GradientSums:
    """Gradients in the last layer of `count` values, each a weighted sum of token gradients.

    The T read-outs of all values come in any order, with (T,) weights and (T,) owners: the values
    that they belong to, in 0 … count − 1, of int64. One without read-outs has gradient 0.

    Raises:
        ValueError: If there is not one weight and one owner for every read-out.
    """

    tokens: TokenGradients
    weights: Tensor
    owners: Tensor
    count: int

    def __post_init__(self) -> None:
        """Check the shapes."""
        length = (len(self.tokens.hidden),)
        if self.weights.shape != length or self.owners.shape != length:
            raise ValueError(f"{length[0]} tokens need as many weights and owners")


def gradient_kernel(
    evaluation: GradientSums, training: GradientSums, block_tokens: int = 2048
) -> Tensor:
    """Return (M, N) Σ_{k,l} w̄_k w_l ρ_{k,l} ⟨h̄_k, h_l⟩, the inner products of gradients.

    It is constant in training for explicit models; for others it is that of the weights at which
    the residuals were taken, so that changes are right up to O(η²). S evaluation and T training
    tokens take S · T · (V + D) multiplications; the memory beyond input and output is bounded by
    about block_tokens · (2 block_tokens + M) numbers. A step raises the N training values, and the
    change of the M evaluation values is asked for.
    """
    kernel = evaluation.weights.new_zeros(evaluation.count, training.count)
    for start in range(0, len(training.weights), block_tokens):
        columns = slice(start, start + block_tokens)
        part = training.tokens.part(columns)
        sums = kernel.new_zeros(evaluation.count, len(part.hidden))
        for first in range(0, len(evaluation.weights), block_tokens):
            rows = slice(first, first + block_tokens)
            block = token_contributions(evaluation.tokens.part(rows), part)
            block *= evaluation.weights[rows, None]
            sums.index_add_(0, evaluation.owners[rows], block)
        kernel.index_add_(1, training.owners[columns], sums * training.weights[columns])
    return kernel


def reward_changes(
    kernel: Tensor, slopes: Tensor, pulls: Iterable[tuple[Tensor, Tensor]]
) -> Tensor:
    """Return what a step on each of P pairs alone adds to M rewards, per unit of learning rate.

    - Eq. 4 (exact) and eq. 5 (with β² in the kernel): slopes 1; y⁺ is pulled by g and y⁻ by −g.
    - Eq. 8: slopes π(Yes given I[x̄, ȳ]); Yes at I[x, y⁺] and No at I[x, y⁻] are pulled by 1.

    Args:
        kernel: (M, L) of the explained values with those of the training responses.
        slopes: (M,) derivatives of the rewards by the explained values.
        pulls: The (P,) training responses that the loss moves, with (P,) factors.
    """
    moved = [kernel[:, responses] * factors for responses, factors in pulls]
    return slopes[:, None] * torch.stack(moved).sum(0)
