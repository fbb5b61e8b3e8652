"""Read-outs by a linear head u."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from rewardgap.dynamics.projection import GradientProjector
from rewardgap.dynamics.readouts.readout import Readout
from rewardgap.models.kinds.reward_model import ResponseStates


class HeadReadout(Readout):
    """r = ⟨u, h⟩: the gradient in u is h itself (eq. 4)."""

    is_narrow = True

    @property
    def head(self) -> nn.Parameter:
        """The head u."""
        return cast(nn.Parameter, cast(nn.Module, self.model.model.score).weight)

    def scores(self, leaves: ResponseStates) -> Tensor:
        """(L,) rewards by the newly made head."""
        return self.model.rewards(leaves)

    def last_layer(
        self,
        leaves: ResponseStates,
        keeper: GradientProjector,
        values: Tensor,
        probes: Mapping[int, Tensor],
    ) -> Tensor:
        """Add what is kept of h_{x,y}."""
        states = self.states(leaves)
        for total, state in zip(values, states, strict=True):
            keeper.outer(total, states.new_ones(1, 1), state[None])
        return self.scores(leaves)

    def narrow(self, leaves: ResponseStates) -> Tensor:
        """h_{x,y} itself."""
        return self.states(leaves)

    def states(self, leaves: ResponseStates) -> Tensor:
        """(L, D) what the head reads."""
        return leaves.last.float()


class MeanReadout(HeadReadout):
    """The head on the mean over the response."""

    def states(self, leaves: ResponseStates) -> Tensor:
        """(L, D) means of h_{x,y≤k} over k."""
        return torch.segment_reduce(
            leaves.states.float(), "mean", lengths=leaves.pack.response_lengths, unsafe=True
        )
