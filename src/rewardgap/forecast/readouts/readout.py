"""What the forecast asks of a kind of reward model."""

from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from rewardgap.forecast.features import Features
from rewardgap.forecast.sketch import Keeper
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

    def fluctuations(self, leaves: Leaves) -> Tensor | None:
        """(L,) sums whose gradients are the probes of all leaves; None where there are none."""
        return None

    @abstractmethod
    def last_layer(self, leaves: Leaves, keeper: Keeper) -> Features:
        """Scores, and what is kept of their gradients in the last layer's weights."""

    def narrow(self, leaves: Leaves) -> Features:
        """The same without loss, in the rows where gradients lie."""
        raise NotImplementedError


class VocabularyReadout(Readout):
    """A read-out of the output embedding U."""

    def __init__(self, model: TrainedRewardModel):
        super().__init__(model)
        config = model.model.config.get_text_config()
        self._layer = cast(nn.Linear, model.model.get_output_embeddings())
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        scale = float(getattr(config, "logit_scale", None) or 1)
        self._scale = scale / float(getattr(config, "logits_scaling", None) or 1)

    @property
    def head(self) -> nn.Parameter:
        """The output embedding U."""
        return cast(nn.Parameter, self._layer.weight)

    def logits(self, states: Tensor, tokens: Tensor) -> Tensor:
        """(T, K) logits of K tokens each, from (T, D) states and (T, K) ids."""
        logits = (self.head[tokens].float() @ states.float()[:, :, None])[:, :, 0]
        if self._layer.bias is not None:
            logits = logits + self._layer.bias[tokens]
        logits = logits * self._scale
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def by_product(self, gradients: Tensor, logits: Tensor) -> Tensor:
        """Gradients by logits as gradients by U h, which the model may scale and cap."""
        if self._cap is not None:
            gradients = gradients * (1 - (logits / self._cap) ** 2)
        return gradients if self._scale == 1 else gradients * self._scale
