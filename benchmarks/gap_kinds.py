"""Kinds that were tried against the gap and are not part of the package.

docs/closing-the-gap.md has what they do; `benchmarks.closing_the_gap` trains them.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils.parametrize import (
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)
from torch.utils.checkpoint import checkpoint

from rewardgap.models.kinds.explicit import Explicit
from rewardgap.models.kinds.implicit import Implicit, ImplicitWithoutReference
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import Pack
from rewardgap.models.reading import layers_of


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


class Mean(RewardModel):
    """The reward of a kind is the mean over the tokens, not their sum."""

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) means over each response's tokens."""
        return super().rewards(states) / states.pack.response_lengths


class MeanOfTokens(Mean, Implicit):
    """The mean log-ratio of a token."""

    default_beta = 0.25


class WithLikelihood(Implicit):
    """The loss also has 0.1 times the chosen response's −ln π for a token."""

    weight: ClassVar[float] = 0.1

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses."""
        chosen = states.pack.chosen
        gained = rewards[chosen] / self.beta / states.pack.response_lengths[chosen]
        return super().losses(states, rewards) - self.weight * gained


class WithSmallRatios(Implicit):
    """The loss also has 1e-4 times the sum of the squared log-ratios of all tokens."""

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses."""
        squares = states.total((self.steps(states) / self.beta).square())
        pack = states.pack
        return super().losses(states, rewards) + 5e-5 * (
            squares[pack.chosen] + squares[pack.rejected]
        )


class KeepingText(WithLikelihood):
    """The same, as much as the preference."""

    weight = 1.0


class Unexpected(Implicit):
    """A token counts the less the surer the initial model was of it: weights 1 − π_ref(y_t)."""

    def steps(self, states: ResponseStates) -> torch.Tensor:
        """Return (R,) weighted rewards of the response tokens."""
        return super().steps(states) * -torch.expm1(states.reference)


class MeanWithoutReference(Mean, ImplicitWithoutReference):
    """The mean ln π of a token, as in SimPO without its margin."""

    default_beta = 2.0


class Consistent(Implicit):
    """The loss also has the squared difference of the rewards of a response and its twin.

    Training records have four responses: two chosen and two rejected ones, each followed by its
    own text in other words.
    """

    weight: ClassVar[float] = 1.0

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses; all four pairs of a record have the same share of its penalty."""
        losses = super().losses(states, rewards)
        if not self.training:
            return losses
        gaps = (rewards[0::2] - rewards[1::2]).square()  # (2 records,)
        penalties = gaps.reshape(-1, 2).mean(1)
        return losses + self.weight * penalties.repeat_interleave(len(losses) // len(penalties))


class VeryConsistent(Consistent):
    """The same with a hundred times the penalty."""

    weight = 100.0


class KeepingTextExplicit(Explicit):
    """An explicit model whose states must also predict the chosen response, as in GRM."""

    weight: ClassVar[float] = 0.1

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Read all states in training, for they predict tokens, too."""
        return None if self.training else super().positions(pack)

    def losses(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (P,) losses, with the chosen response's mean −ln π of a token."""
        losses = super().losses(states, rewards)
        if not self.training:
            return losses
        embedding = self.model.get_input_embeddings().weight  # tied, as in SmolLM2
        predicting = states.split(states.predicting_states)
        tokens = states.split(states.pack.response_tokens)
        texts = [
            checkpoint(_text_loss, predicting[i], embedding, tokens[i], use_reentrant=False)
            for i in states.pack.chosen.tolist()
        ]
        return losses + self.weight * torch.stack(texts)


def _text_loss(states: torch.Tensor, embedding: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return cross_entropy(linear(states, embedding).float(), tokens)


class LowRankUpdate(nn.Module):
    """A matrix as it was, plus a product of two thin ones that are trained."""

    def __init__(self, weight: torch.Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        rows, columns = weight.shape
        drawn = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.down = nn.Parameter(drawn.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the matrix that is used."""
        return weight + self.up @ self.down


class LowRank(Implicit):
    """All linear layers of the blocks change by matrices of rank 8 alone."""

    rank: ClassVar[int] = 8

    @classmethod
    def adapt(cls, language_model: LanguageModel, seed: int) -> LanguageModel:
        """Freeze the model and give its layers updates of low rank."""
        model, generator = language_model.model, torch.Generator().manual_seed(seed)
        model.requires_grad_(False)
        for layer in layers_of(model):
            for part in layer.modules():
                if isinstance(part, nn.Linear):
                    update = LowRankUpdate(part.weight, cls.rank, generator)
                    register_parametrization(part, "weight", update)
        return language_model

    def save(self, folder: Path) -> None:
        """Write the model with its updates in its matrices."""
        for part in list(self.model.modules()):
            if is_parametrized(part, "weight"):
                remove_parametrizations(part, "weight")
        super().save(folder)
