"""Implicit kinds that were tried against the gap and are not part of the package.

docs/closing-the-gap.md has what they do; `benchmarks.closing_the_gap` trains them.
"""

from typing import ClassVar

import torch

from rewardgap.models.kinds.implicit import Implicit
from rewardgap.models.kinds.reward_model import ResponseStates


class Weighted(Implicit):
    """r = β Σ w_t [ln π(y_t) − ln π_ref(y_t)], with weights by place."""

    first: ClassVar[tuple[int, float]] = (0, 1.0)
    """How many tokens are the first, and their weight."""
    others: ClassVar[float] = 1.0
    end: ClassVar[float] = 1.0
    """Weight of the tokens that end the turn."""

    def steps(self, states: ResponseStates) -> torch.Tensor:
        """Return (R,) weighted rewards of the response tokens."""
        lengths = states.pack.response_lengths
        places = torch.cat([torch.arange(length) for length in lengths.tolist()])
        left = lengths.repeat_interleave(lengths).cpu() - places
        weights = torch.full((len(places),), self.others)
        weights[places < self.first[0]] = self.first[1]
        weights[left <= self.template.closing] = self.end
        return super().steps(states) * weights.to(states.hidden.device)


class EndWeighted(Weighted):
    """The tokens that end the turn, which all responses share, count a hundred times."""

    end = 100.0


class EndAlone(EndWeighted):
    """The reward is read at the end of the turn alone."""

    others = 0.0


class WithoutFirst(Weighted):
    """The first four tokens, which are read from a state that all responses share, do not count."""

    first = (4, 0.0)


class MeanOfTokens(Implicit):
    """The reward is the mean over the tokens, not their sum."""

    default_beta = 0.25

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) means over each response's tokens."""
        return super().rewards(states) / states.pack.response_lengths


class WithLikelihood(Implicit):
    """The loss also has 0.1 times the chosen response's −ln π for a token."""

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses."""
        chosen = states.pack.chosen
        gained = rewards[chosen] / self.beta / states.pack.response_lengths[chosen]
        return super().losses(states, rewards) - 0.1 * gained


class WithSmallRatios(Implicit):
    """The loss also has 1e-4 times the sum of the squared log-ratios of all tokens."""

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses."""
        squares = states.total((self.steps(states) / self.beta).square())
        pack = states.pack
        return super().losses(states, rewards) + 5e-5 * (
            squares[pack.chosen] + squares[pack.rejected]
        )
