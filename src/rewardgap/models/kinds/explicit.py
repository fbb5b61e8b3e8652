"""Explicit reward models: a linear head on hidden states (eq. 1)."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import Pack, pack

PAD_TOKEN = "<|pad|>"


class Explicit(TrainedRewardModel):
    """r(x, y) = ⟨u, h_{x,y}⟩: the head reads the state of the response's last token (eq. 1)."""

    auto_class = AutoModelForSequenceClassification

    def __init__(self, language_model: LanguageModel, template: ChatTemplate, options: KindConfig):
        super().__init__(language_model, template, options)
        model = language_model.model
        score = getattr(model, "score", None)
        if not isinstance(score, nn.Module) or model.config.num_labels != 1:
            raise UserError(
                f"{type(model).__name__} has no scalar head: an explicit reward model is a "
                "sequence classification model with num_labels=1"
            )
        self._score = score if model.dtype.itemsize >= 4 else score.float()

    @classmethod
    def recognises(cls, architectures: Sequence[str]) -> bool:
        """Return True for sequence classification models, which transformers reads alike."""
        return any(name.endswith("ForSequenceClassification") for name in architectures)

    @classmethod
    def adapt(cls, language_model: LanguageModel, seed: int) -> LanguageModel:
        """Return the language model's body under a new head, drawn from `seed`."""
        return LanguageModel(_sequence_classifier(language_model.model, seed))

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """Return (M,) products ⟨u, h⟩ of (M, D) states, in float32 or more for any body.

        bfloat16 has so few digits that different responses would tie.
        """
        with torch.autocast(states.device.type, enabled=False):
            dtype = next(self._score.parameters()).dtype
            return cast(torch.Tensor, self._score(states.to(dtype))).squeeze(-1)

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return the responses' last tokens."""
        return pack.last_positions

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) products at the responses' last tokens."""
        return self.head(states.last)

    def prefix_rewards(self, tree: Tree, reference: np.ndarray | None) -> list[torch.Tensor]:
        """Return the head's products at every token of every response."""
        states = self.read(pack([tree]).to(self.device))
        return states.split(self.head(states.states))

    def save(self, folder: Path) -> None:
        """Write for transformers, which reads the reward at the last token that is no pad token."""
        tokenizer = self.template.tokenizer
        endings = {None, tokenizer.eos_token_id, *self.template.closing_tokens()}
        if tokenizer.pad_token_id in endings:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        self.language_model.fit_embeddings(tokenizer.pad_token_id + 1)
        self.model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        self.model.config.pad_token_id = tokenizer.pad_token_id
        super().save(folder)

    equation = "eq. 4"

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return the head's product at each response's last token."""
        return Terms.at_last_tokens(pack)


class ExplicitMean(Explicit):
    """r(x, y) = ⟨u, mean over k of h_{x,y≤k}⟩: the head reads every response token (fig. 7).

    Score it with rewardgap: it is saved like an explicit model, of which plain transformers reads
    only the last token.
    """

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return all tokens of the responses."""
        return pack.response_positions

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) means of the head's products over each response's tokens."""
        return states.total(self.head(states.states)) / states.pack.response_lengths

    def prefix_rewards(self, tree: Tree, reference: np.ndarray | None) -> list[torch.Tensor]:
        """Return running means of the head's products."""
        return [
            values.cumsum(0) / torch.arange(1, len(values) + 1, device=values.device)
            for values in super().prefix_rewards(tree, reference)
        ]

    equation = "eq. 4 with mean hidden states"

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return the head's product at every token of a response, with weight 1/T."""
        weights = (1.0 / pack.response_lengths).repeat_interleave(pack.response_lengths)
        return Terms.at_every_token(pack, weights)


def _sequence_classifier(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return a classification model of the body of `model` (not a copy) and a new head.

    The head is normal with standard deviation 1/(D + 1), so that the first loss is near ln 2.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.problem_type = "regression"
    try:
        with torch.device("meta"):
            classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise UserError(
            f"transformers has no sequence classification model for {config.model_type}"
        ) from error
    body = model.base_model
    setattr(classifier, classifier.base_model_prefix, body)
    width, weight = config.get_text_config().hidden_size, next(body.parameters())
    head = nn.Linear(width, 1, bias=False, dtype=weight.dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(1, width, generator=generator) / (width + 1))
    classifier.score = head.to(weight.device)
    return classifier
