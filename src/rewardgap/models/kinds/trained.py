"""Reward models on a language model: what the explicit, implicit and generative kinds share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from transformers import AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import Pack


class TrainedRewardModel(RewardModel):
    """A kind whose rewards are read from the hidden states of a language model.

    Its transformers model is registered as `model`, so that parameters are named as in saved files.
    """

    auto_class: ClassVar[Any] = AutoModelForCausalLM
    """The transformers class that a saved model of the kind loads as."""
    language_model: LanguageModel

    def __init__(self, language_model: LanguageModel, template: ChatTemplate, options: KindConfig):
        super().__init__(template, options)
        self.language_model = language_model
        self.model = language_model.model
        self.vocabulary = language_model.vocabulary

    @classmethod
    def initialise(
        cls,
        folder: Path,
        template: ChatTemplate,
        options: KindConfig,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> Self:
        """Return a reward model to be trained from the causal language model in `folder`."""
        language_model = LanguageModel.load(folder, template, AutoModelForCausalLM, dtype)
        return cls(cls.adapt(language_model, seed), template, options)

    @classmethod
    def on_meta(cls, folder: Path, template: ChatTemplate, options: KindConfig) -> Self:
        """Return the model that `initialise` gives, with shapes and no weights."""
        with torch.device("meta"):
            return cls(cls.adapt(LanguageModel.on_meta(folder), seed=0), template, options)

    @classmethod
    def adapt(cls, language_model: LanguageModel, seed: int) -> LanguageModel:
        """Return the language model as this kind trains it; by default unchanged."""
        return language_model

    @classmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """Return a reward model that was saved as `auto_class`, by us or by any other tool."""
        return cls(LanguageModel.load(folder, template, cls.auto_class, dtype), template, options)

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and chat template for plain transformers."""
        self.language_model.save(folder, self.template)

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Refuse trees that are too long for the model, or of tokens it does not have."""
        self.language_model.check_readable(trees)

    def read(self, pack: Pack, positions: torch.Tensor | None = None) -> ResponseStates:
        """Run one forward pass, which ends early at positions that are not read."""
        return ResponseStates(self.language_model.hidden_states(pack, positions), pack)
