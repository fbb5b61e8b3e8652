"""The paper's losses, as pure functions of rewards and log-probabilities."""

import torch
from torch.nn.functional import softplus


def bradley_terry(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    margins: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return (P,) Bradley–Terry losses −ln σ(r⁺ − r⁻) (eq. 3) of (P,) rewards, without overflow.

    With (P,) margins m they are −ln σ(z) of z = r⁺ − r⁻ − m (Llama 2, section 3.2.2), and with
    smoothing ε they are −(1 − ε) ln σ(z) − ε ln σ(−z), as in conservative DPO.
    """
    deficits = rejected - chosen if margins is None else rejected - chosen + margins
    losses = softplus(deficits)
    if not smoothing:
        return losses
    return (1 - smoothing) * losses + smoothing * softplus(-deficits)


def verification(yes_given_chosen: torch.Tensor, no_given_rejected: torch.Tensor) -> torch.Tensor:
    """Return (P,) losses −ln π(Yes | I[x, y⁺]) − ln π(No | I[x, y⁻]) (eq. 7 without its λ term)."""
    return -yes_given_chosen - no_given_rejected
