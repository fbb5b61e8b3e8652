"""What a kind says of its last layer, so that its training can be forecast and explained.

With hidden states fixed (the paper's assumption 1) every reward is a weighted sum of read-outs of
single states. A kind says where they are and what they read; the room `dynamics` has the equations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewardgap.models.packing import Pack


@dataclass(frozen=True)
class Terms:
    """One value for each of the L responses of a pack: a weighted sum of K read-outs in all.

    A read-out of a state h is the product ⟨u, h⟩ of a head; where there are `targets`, the
    log-probability of a token; where there are `logits`, a fixed combination of a few logits.

    Attributes:
        positions: (K,) index of the state in the row of the pack.
        tokens: (K,) index, among the R response tokens, of the token that the read-out belongs to.
        responses: (K,) index, among the L responses, of its response.
        weights: (K,) float32 factors.
        targets: (K,) ids of the tokens whose log-probabilities are read, or None.
        logits: The factor of each token's logit, by token id, or None.
    """

    positions: Tensor
    tokens: Tensor
    responses: Tensor
    weights: Tensor
    targets: Tensor | None = None
    logits: Mapping[int, float] | None = None

    @classmethod
    def at_last_tokens(
        cls, pack: Pack, targets: Tensor | None = None, logits: Mapping[int, float] | None = None
    ) -> "Terms":
        """Read the state of every response's last token, with weight 1; targets are (L,)."""
        return cls(
            positions=pack.last_positions,
            tokens=pack.response_lengths.cumsum(0) - 1,
            responses=torch.arange(len(pack.response_lengths), device=pack.tokens.device),
            weights=torch.ones_like(pack.response_lengths, dtype=torch.float32),
            targets=targets,
            logits=logits,
        )

    @classmethod
    def at_every_token(cls, pack: Pack, weights: Tensor) -> "Terms":
        """Read the state of each of the R response tokens, with (R,) float32 weights."""
        lengths = pack.response_lengths
        return cls(
            positions=pack.response_positions,
            tokens=torch.arange(len(weights), device=weights.device),
            responses=torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths),
            weights=weights,
        )

    @classmethod
    def of_log_probs(cls, pack: Pack, weights: float | Tensor) -> "Terms":
        """Read ln π of each of the R response tokens where it is predicted; one weight, or (R,)."""
        unit = torch.ones_like(pack.response_tokens, dtype=torch.float32)
        return replace(
            cls.at_every_token(pack, weights * unit),
            positions=pack.predicting_positions,
            targets=pack.response_tokens,
        )

    def select(self, index: Tensor | slice) -> "Terms":
        """Return the terms of a mask, of indices or of a slice."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        selected: dict[str, Any] = {name: value[index] for name, value in tensors.items()}
        return replace(self, **selected)

    def join(self, further: "Terms") -> "Terms":
        """Return these terms and further ones of other responses; all of them have targets."""
        names = ("positions", "tokens", "responses", "weights", "targets")
        joined: dict[str, Any] = {
            name: torch.cat([getattr(self, name), getattr(further, name)]) for name in names
        }
        return Terms(**joined)


@dataclass(frozen=True)
class Pull:
    """One response of every pair, as a descent step on the pair's loss moves it."""

    label: str
    """What the response is in the loss."""
    responses: Tensor
    """(P,) index, among the L responses, for each pair."""
    factor: float
    """What the step adds to the response's gradient: 1 raises its value, −1 lowers it."""
