"""How every kind's reward is read from hidden states, and its gradient in the last layer.

The forecast works with *scores*: the reward itself, or for the generative kind the log-odds
ln π(Yes) − ln π(No), which rank responses as P(Yes) does once Yes and No take all the probability
and which, unlike it, are linear in the output embedding.

A new kind is a class here and a line in `READOUTS`.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from rewardgap.backbone import CHUNK_VALUES
from rewardgap.dynamics import soft_capped, token_gradients
from rewardgap.errors import UserError
from rewardgap.forecast.features import Features
from rewardgap.forecast.sketch import Keeper
from rewardgap.kinds.generative import Generative
from rewardgap.kinds.reward_model import Leaves
from rewardgap.kinds.trained import TrainedRewardModel


class Readout(ABC):
    """One kind's read-out, on the initial model.

    Attributes:
        judges_singly: whether the loss judges every response on its own (eq. 7), and not the two
            of a pair against each other (eq. 3).
        is_narrow: whether gradients lie in so few rows that `narrow` gives them.
    """

    judges_singly: ClassVar[bool] = False
    is_narrow: ClassVar[bool] = False

    def __init__(self, model: TrainedRewardModel):
        self.model = model

    @property
    @abstractmethod
    def head(self) -> nn.Parameter:
        """The weights of the last layer: the head u or the output embedding U."""

    @abstractmethod
    def scores(self, leaves: Leaves) -> Tensor:
        """(L,) scores of all leaves, with their gradient."""

    @abstractmethod
    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """Scores, and what is kept of their gradients in the last layer's weights."""

    def narrow(self, leaves: Leaves) -> Features:
        """The same without loss, in the rows where gradients lie."""
        raise NotImplementedError


class HeadReadout(Readout):
    """r = ⟨u, h⟩: the gradient in u is h itself (eq. 4)."""

    is_narrow = True

    @property
    def head(self) -> nn.Parameter:
        """The head u."""
        return cast(nn.Parameter, cast(nn.Module, self.model.model.score).weight)

    def scores(self, leaves: Leaves) -> Tensor:
        """(L,) rewards by the newly made head."""
        return self.model.rewards(leaves)

    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """What is kept of h_{x,y}."""
        states = self.states(leaves)
        ones = states.new_ones(1, 1)
        kept = [keeper.outer(ones, state[None]) for state in states]
        return Features(torch.stack(kept), self.scores(leaves))

    def narrow(self, leaves: Leaves) -> Features:
        """h_{x,y} itself."""
        return Features(self.states(leaves), self.scores(leaves))

    def states(self, leaves: Leaves) -> Tensor:
        """(L, D) what the head reads."""
        return leaves.last.float()


class MeanReadout(HeadReadout):
    """The head on the mean over the response."""

    def states(self, leaves: Leaves) -> Tensor:
        """(L, D) means of h_{x,y≤k} over k."""
        return torch.segment_reduce(leaves.after.float(), "mean", lengths=leaves.pack.leaf_lengths)


class VocabularyReadout(Readout):
    """A read-out of the output embedding U."""

    @property
    def head(self) -> nn.Parameter:
        """The output embedding U."""
        return cast(nn.Parameter, self.model.model.get_output_embeddings().weight)

    @property
    def cap(self) -> float | None:
        """The soft cap of the logits, where the model has one."""
        config = self.model.model.config.get_text_config()
        return getattr(config, "final_logit_softcapping", None)


class TokensReadout(VocabularyReadout):
    """r = β ln π(y | x): the gradient in U is β Σ_k (e_{y_k} − π) h_{x,y<k}ᵀ (eq. 5)."""

    def scores(self, leaves: Leaves) -> Tensor:
        """(L,) sums over each leaf's tokens."""
        log_probs = self.model.vocabulary.log_probs(leaves.before, leaves.pack.response_tokens)
        return self.model.beta * leaves.total(log_probs)

    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """The gradient, response by response, so that no softmax of a whole pack is held."""
        responses = zip(
            leaves.split(leaves.before), leaves.split(leaves.pack.response_tokens), strict=True
        )
        kept, sums = zip(*(self._response(s, t, keeper) for s, t in responses), strict=True)
        values, log_probs = torch.stack(kept), torch.stack(sums)
        return Features(self.model.beta * values, self.model.beta * log_probs)

    def _response(self, states: Tensor, tokens: Tensor, keeper: Keeper) -> tuple[Tensor, Tensor]:
        """What is kept of ∇_U ln π(y | x), and ln π(y | x)."""
        rows = max(1, CHUNK_VALUES // len(self.head))
        chunks = zip(states.split(rows), tokens.split(rows), strict=True)
        kept, sums = zip(*(self._chunk(s, t, keeper) for s, t in chunks), strict=True)
        return torch.stack(kept).sum(0), torch.stack(sums).sum()

    def _chunk(self, states: Tensor, tokens: Tensor, keeper: Keeper) -> tuple[Tensor, Tensor]:
        logits = self.model.vocabulary.logits(states)
        log_probs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        gradients = token_gradients(tokens, logits.softmax(-1), states)
        if self.cap is not None:
            gradients = soft_capped(gradients, logits, self.cap)
        return keeper.outer(gradients.residuals, states), log_probs.sum()


class RatioReadout(TokensReadout):
    """r = β [ln π(y | x) − ln π_ref(y | x)]: 0 before training, with the gradient of β ln π."""

    def scores(self, leaves: Leaves) -> Tensor:
        """(L,) zeros, with their gradient."""
        scores = super().scores(leaves)
        return scores - scores.detach()

    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """The gradient of β ln π; the reference is a constant."""
        found = super().last_layer(leaves, keeper)
        return Features(found.values, torch.zeros_like(found.scores))


class AnswerReadout(VocabularyReadout):
    """ln π(Yes) − ln π(No) after the verification prompt: the gradient is (e_Yes − e_No) hᵀ."""

    judges_singly = True
    is_narrow = True

    @property
    def answers(self) -> list[int]:
        """The tokens Yes and No."""
        model = cast(Generative, self.model)
        return [model.yes, model.no]

    def scores(self, leaves: Leaves) -> Tensor:
        """(L,) log-odds; the normaliser of the softmax cancels."""
        yes, no = self.model.vocabulary.logits(leaves.last)[:, self.answers].unbind(1)
        return yes - no

    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """What is kept of the gradient."""
        rows = torch.tensor(self.answers, device=leaves.states.device)
        kept = torch.stack([keeper.rows(rows, each) for each in self._gradients(leaves)])
        return Features(kept, self.scores(leaves))

    def narrow(self, leaves: Leaves) -> Features:
        """The rows of Yes and No."""
        return Features(self._gradients(leaves).flatten(1), self.scores(leaves))

    def _gradients(self, leaves: Leaves) -> Tensor:
        """(L, 2, D) gradients in the rows of Yes and No."""
        logits = self.model.vocabulary.logits(leaves.last)[:, self.answers]
        slopes = torch.ones_like(logits) if self.cap is None else 1 - (logits / self.cap) ** 2
        signed = slopes * slopes.new_tensor([1.0, -1.0])
        return signed[:, :, None] * leaves.last.float()[:, None]


READOUTS: dict[str, type[Readout]] = {
    "explicit": HeadReadout,
    "explicit-mean": MeanReadout,
    "implicit": RatioReadout,
    "implicit-no-reference": TokensReadout,
    "generative": AnswerReadout,
}


def find_readout(kind: str) -> type[Readout]:
    """The read-out of a kind.

    Raises:
        UserError: the kind has none; the message lists those that do.
    """
    if kind not in READOUTS:
        raise UserError(
            f"kind {kind!r} has no forecast; the kinds that do are {', '.join(READOUTS)}"
        )
    return READOUTS[kind]
