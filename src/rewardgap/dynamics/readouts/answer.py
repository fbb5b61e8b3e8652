"""The read-out of the answer to a verification prompt."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from rewardgap.dynamics.projection import GradientProjector
from rewardgap.dynamics.readouts.readout import VocabularyReadout
from rewardgap.models.kinds.generative import Generative
from rewardgap.models.kinds.reward_model import ResponseStates


class AnswerReadout(VocabularyReadout):
    """ln π(Yes) − ln π(No) after the verification prompt: the gradient is (e_Yes − e_No) hᵀ.

    With a logistic loss this is eq. 8 with a softmax over Yes and No alone, not over all words. The
    first step of the full equation lowers all other words for chosen and rejected responses alike,
    which moves π(Yes), while that is small, by as much as the choice does.
    """

    judges_singly = True
    is_narrow = True

    def scores(self, leaves: ResponseStates) -> Tensor:
        """(L,) log-odds; the normaliser of the softmax cancels."""
        yes, no = self._answers(leaves).unbind(1)
        return yes - no

    def last_layer(
        self,
        leaves: ResponseStates,
        keeper: GradientProjector,
        values: Tensor,
        probes: Mapping[int, Tensor],
    ) -> Tensor:
        """Add what is kept of the gradient."""
        gradients = self._gradients(leaves)
        for total, *gradient in zip(values, self._tokens(leaves), gradients, strict=True):
            keeper.rows(total, *gradient)
        return self.scores(leaves)

    def narrow(self, leaves: ResponseStates) -> Tensor:
        """The rows of Yes and No."""
        return self._gradients(leaves).flatten(1)

    def _tokens(self, leaves: ResponseStates) -> Tensor:
        """(L, 2) the ids of Yes and No."""
        model = cast(Generative, self.model)
        answers = torch.tensor([model.yes, model.no], device=leaves.hidden.device)
        return answers.expand(len(leaves.last), 2)

    def _answers(self, leaves: ResponseStates) -> Tensor:
        """(L, 2) logits of Yes and No."""
        return self.vocabulary.logits_of(leaves.last, self._tokens(leaves))

    def _gradients(self, leaves: ResponseStates) -> Tensor:
        """(L, 2, D) gradients in the rows of Yes and No."""
        logits = self._answers(leaves)
        signs = self.vocabulary.by_product(logits.new_tensor([1.0, -1.0]).expand_as(logits), logits)
        return signs[:, :, None] * leaves.last.float()[:, None]
