"""The paper's losses, as pure functions of rewards and log-probabilities."""

import torch
from torch.nn.functional import softplus


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Return the Bradley–Terry loss of each pair, −ln σ(r⁺ − r⁻) (eq. 3), without overflow.

    Args:
        chosen: (P,) rewards of the chosen responses.
        rejected: (P,) rewards of the rejected responses.

    Returns:
        (P,) losses; ln 2 where the rewards are equal.
    """
    return softplus(rejected - chosen)


def verification(yes_given_chosen: torch.Tensor, no_given_rejected: torch.Tensor) -> torch.Tensor:
    """Return the loss of a generative reward model for each pair (eq. 7 without its λ term).

    Args:
        yes_given_chosen: (P,) ln π(Yes | I[x, y⁺]).
        no_given_rejected: (P,) ln π(No | I[x, y⁻]).

    Returns:
        (P,) losses −ln π(Yes | I[x, y⁺]) − ln π(No | I[x, y⁻]).
    """
    return -yes_given_chosen - no_given_rejected
