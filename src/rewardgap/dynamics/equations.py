"""What one step of gradient descent does to rewards: equations 4, 5 and 8.

The paper's assumption 1 holds throughout: hidden states are fixed, and only the head u or the
unembedding U is trained. A reward then changes along one gradient, which has a small form:

- explicit: ∇_u r = h, the hidden state of the last token (or the mean over the response);
- implicit and generative: ∇_U ln π(v given z) = (e_v − π(· given z)) h_zᵀ for every token v, an
  outer product of a *residual* in R^V and a hidden state in R^D. It is never multiplied out:
  ⟨a hᵀ, b kᵀ⟩ = ⟨a, b⟩ ⟨h, k⟩, so two responses meet in two small Gram matrices.

Logits must be U h, plus a bias if there is one. Under a soft cap (Gemma-2's final one) equations 5
and 8 do not apply as printed: see `soft_capped`. All functions are pure, work on float32 and
float64, and keep the device and dtype of their input. `kernels` does the same for many pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def step_weight(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Return g = σ(r(x, y⁻) − r(x, y⁺)), the factor of a Bradley–Terry step (eqs. 4 and 5).

    Args:
        chosen_rewards: Rewards of the chosen responses, any shape.
        rejected_rewards: Rewards of the rejected responses, same shape.

    Returns:
        Values in (0, 1), ½ where the rewards are equal; same shape.
    """
    return torch.sigmoid(rejected_rewards - chosen_rewards)


def response_means(hidden: Tensor, responses: Tensor, count: int) -> Tensor:
    """Return the mean hidden state of every response: the explicit-mean representation (fig. 7).

    Args:
        hidden: (T, D) hidden states of the tokens of all responses, one after the other.
        responses: (T,) which response each token belongs to, in 0 … count − 1.
        count: Number of responses.

    Returns:
        (count, D); NaN for a response without tokens.
    """
    sums = hidden.new_zeros(count, hidden.shape[1]).index_add_(0, responses, hidden)
    return sums / torch.bincount(responses, minlength=count)[:, None].to(hidden.dtype)


def explicit_change(
    evaluation: Tensor, chosen: Tensor, rejected: Tensor, step: float | Tensor
) -> Tensor:
    """Return what one step on (x, y⁺, y⁻) adds to explicit rewards: eq. 4, exact.

    Args:
        evaluation: (M, D) representations of M unseen responses.
        chosen: (D,) representation of the chosen training response.
        rejected: (D,) representation of the rejected one.
        step: η g, the learning rate times `step_weight`.

    Returns:
        (M,) reward changes. With `response_means` as representations: those of explicit-mean.
    """
    return step * (evaluation @ (chosen - rejected))


def output_probabilities(hidden: Tensor, unembedding: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return π(· given z) = softmax(U h_z + bias) for every hidden state.

    Args:
        hidden: (T, D) hidden states after the final norm.
        unembedding: (V, D) output embedding U.
        bias: (V,) bias of the output embedding, where the model has one.

    Returns:
        (T, V) probabilities.
    """
    return torch.nn.functional.linear(hidden, unembedding, bias).softmax(dim=-1)


@dataclass(frozen=True)
class TokenGradients:
    """The gradients ∇_U ln π of T tokens, kept as outer products residuals[t] hidden[t]ᵀ.

    Attributes:
        residuals: (T, V) e_v − π(· given z), or (T, R) after any linear sketch R^V → R^R.
        hidden: (T, D) the hidden states h_z that *predict* the tokens, or a linear sketch of them.
    """

    residuals: Tensor
    hidden: Tensor

    def __post_init__(self) -> None:
        """Raise ValueError unless both attributes are matrices with a row for every token."""
        if self.residuals.ndim != 2 or self.hidden.ndim != 2:
            raise ValueError("residuals and hidden must be matrices with one row for every token")
        if len(self.residuals) != len(self.hidden):
            raise ValueError(f"{len(self.residuals)} residuals for {len(self.hidden)} hidden rows")

    def part(self, start: int, stop: int) -> "TokenGradients":
        """Return tokens start … stop − 1, as views."""
        return TokenGradients(self.residuals[start:stop], self.hidden[start:stop])


def token_gradients(tokens: Tensor, probabilities: Tensor, hidden: Tensor) -> TokenGradients:
    """Return the gradient of every token's log-probability: residuals e_v − π.

    Args:
        tokens: (T,) ids v of the predicted tokens, int64.
        probabilities: (T, V) what the model gives to every token at that place.
        hidden: (T, D) hidden states that predict the tokens.

    Raises:
        ValueError: The numbers of tokens and rows differ.
        IndexError: A token is not in the vocabulary.
    """
    if tokens.shape != probabilities.shape[:1]:
        raise ValueError(f"{len(tokens)} tokens for {len(probabilities)} rows of probabilities")
    residuals = -probabilities
    residuals[torch.arange(len(tokens), device=tokens.device), tokens] += 1
    return TokenGradients(residuals, hidden)


def soft_capped(gradients: TokenGradients, logits: Tensor, cap: float) -> TokenGradients:
    """Return the gradients where logits are cap · tanh(U h / cap), as in Gemma-2.

    The cap scales entry v of every residual by 1 − (logit_v / cap)². The result serves all the
    functions below, but its coefficients are no longer the paper's ρ and γ.

    Args:
        gradients: T tokens, with residuals over the whole vocabulary.
        logits: (T, V) logits after the cap.
        cap: The cap, > 0.
    """
    return TokenGradients(gradients.residuals * (1 - (logits / cap) ** 2), gradients.hidden)


def coefficients(evaluation: TokenGradients, training: TokenGradients) -> Tensor:
    """Return ⟨e_v̄ − π̄, e_v − π⟩ for all token pairs: ρ of eq. 5 and γ of eq. 8.

    - ρ_{k,l} ∈ [−2, 2], response tokens on both sides; ρ > 0 where the tokens are equal.
    - γ(y⁺) ∈ [0, 2], the token Yes on both sides.
    - γ(y⁻) ∈ [−2, 1], Yes in the evaluation and No in the training response.

    At equal tokens ρ underflows to 0 where a probability rounds to 1. A sketch of the residuals
    keeps the bounds only approximately.

    Returns:
        (S, T) for S evaluation and T training tokens.
    """
    return evaluation.residuals @ training.residuals.T


def token_contributions(evaluation: TokenGradients, training: TokenGradients) -> Tensor:
    """Return coefficient × ⟨h̄, h⟩ for all token pairs: the summands of equations 5 and 8.

    Returns:
        (S, T): how much raising the training token raises the log-probability of the other.
    """
    return coefficients(evaluation, training) * (evaluation.hidden @ training.hidden.T)


def implicit_change(
    evaluation: TokenGradients,
    chosen: TokenGradients,
    rejected: TokenGradients,
    step: float | Tensor,
    beta: float,
) -> Tensor:
    """Return what one step on (x, y⁺, y⁻) adds to one implicit reward: eq. 5, up to O(η²).

    Args:
        evaluation: Tokens of the unseen response.
        chosen: Tokens of the chosen training response.
        rejected: Tokens of the rejected one.
        step: η g, the learning rate times `step_weight` of the implicit rewards.
        beta: β of the reward. The reference is constant and has no part in the change, so 1 gives
            the variant without reference, r = ln π (fig. 7).

    Returns:
        Scalar reward change.
    """
    toward_chosen = token_contributions(evaluation, chosen).sum()
    return step * beta**2 * (toward_chosen - token_contributions(evaluation, rejected).sum())


def generative_change(
    evaluation: TokenGradients,
    yes_probabilities: Tensor,
    chosen: TokenGradients,
    rejected: TokenGradients,
    learning_rate: float,
) -> Tensor:
    """Return what one step of eq. 7 adds to M generative rewards P(Yes): eq. 8, up to O(η²).

    Args:
        evaluation: The token Yes at each of M verification prompts I[x̄, ȳ].
        yes_probabilities: (M,) the rewards π(Yes given I[x̄, ȳ]) before the step.
        chosen: The single token Yes at I[x, y⁺].
        rejected: The single token No at I[x, y⁻].
        learning_rate: η.

    Returns:
        (M,) reward changes.
    """
    toward_yes = token_contributions(evaluation, chosen)
    toward_no = token_contributions(evaluation, rejected)
    return learning_rate * yes_probabilities * (toward_yes + toward_no).squeeze(1)
