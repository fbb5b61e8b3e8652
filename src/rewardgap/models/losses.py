"""The paper's losses, as pure functions of rewards and log-probabilities."""

import torch
from torch.nn.functional import softplus


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Return (P,) Bradley–Terry losses −ln σ(r⁺ − r⁻) (eq. 3) of (P,) rewards, without overflow."""
    return softplus(rejected - chosen)


def verification(yes_given_chosen: torch.Tensor, no_given_rejected: torch.Tensor) -> torch.Tensor:
    """Return (P,) losses −ln π(Yes | I[x, y⁺]) − ln π(No | I[x, y⁻]) (eq. 7 without its λ term)."""
    return -yes_given_chosen - no_given_rejected
