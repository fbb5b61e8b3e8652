"""Reward models on a language model: what the explicit, implicit and generative kinds share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.language_model import (
    Vocabulary,
    check_readable,
    compile_layers,
    hidden_states,
    load_model,
    quiet,
    untie,
)
from rewardgap.models.packing import Pack


class TrainedRewardModel(RewardModel):
    """A read-out of a language model's hidden states.

    Attributes:
        auto_class: the transformers class that a saved model of the kind loads as.
        model: the language model, as it is saved.
    """

    auto_class: ClassVar[Any] = AutoModelForCausalLM

    def __init__(self, model: PreTrainedModel, template: ChatTemplate, options: KindConfig):
        super().__init__(template, options)
        self.model = model

    @classmethod
    def initialise(
        cls,
        folder: Path,
        template: ChatTemplate,
        options: KindConfig,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> Self:
        """A reward model to be trained from the causal language model in `folder`."""
        model = load_model(folder, template, AutoModelForCausalLM, dtype)
        return cls(cls.adapt(model, seed), template, options)

    @classmethod
    def adapt(cls, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        """The model that this kind trains, made from a causal language model."""
        return model

    @classmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """A reward model that was saved as `auto_class`, by us or by any other tool."""
        return cls(load_model(folder, template, cls.auto_class, dtype), template, options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.model.activation_checkpointing_enable()

    def compile_layers(self) -> None:
        """Compile what layers compute token by token.

        Raises:
            UserError: this machine or this model cannot be compiled.
        """
        compile_layers(self.model)

    def freeze_backbone(self) -> None:
        """Leave the head u, or the output embedding U, alone to train (assumption 1)."""
        untie(self.model)
        self.model.base_model.requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write model, tokenizer and chat template for plain transformers."""
        with quiet():
            self.model.save_pretrained(folder)
        self.template.tokenizer.save_pretrained(folder)

    @property
    def vocabulary(self) -> Vocabulary:
        """The language model's output layer."""
        return Vocabulary(self.model)

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Refuse trees that are too long for the model, or of tokens it does not have."""
        check_readable(self.model, trees)

    def read(self, pack: Pack, positions: torch.Tensor | None = None) -> ResponseStates:
        """Run one forward pass, which ends early at positions that are not read."""
        return ResponseStates(hidden_states(self.model, pack, positions), pack)
