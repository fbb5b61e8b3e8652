"""Explicit reward models: a linear head on hidden states (eq. 1)."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, reported
from rewardgap.models.heads import (
    StoredHead,
    choose_label,
    head_of,
    load_classifier,
    new_classifier,
    reads_last_token,
)
from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.loading import read_config
from rewardgap.models.packing import Pack
from rewardgap.models.reading import LogitsReading
from rewardgap.models.self_check import check_model, classify

logger = logging.getLogger(__name__)

PAD_TOKEN = "<|pad|>"


class Explicit(TrainedRewardModel):
    """r(x, y) = ⟨u, h_{x,y}⟩: the head reads the state of the response's last token (eq. 1)."""

    auto_class = AutoModelForSequenceClassification
    reads_as_written = True
    new_head = True
    reads_end_alone = True

    def __init__(self, language_model: LanguageModel, template: ChatTemplate, options: KindConfig):
        super().__init__(language_model, template, options)
        model = language_model.model
        self.index = choose_label(model.config, options.label)
        head = head_of(model)
        self._score: nn.Linear | None = None
        if head is not None and not isinstance(language_model.reading, LogitsReading):
            self._score = head if model.dtype.itemsize >= 4 else head.float()
        self._unread: int | None = None

    @classmethod
    def recognises(cls, architectures: Sequence[str]) -> bool:
        """Return True for sequence classification models, which transformers reads alike."""
        return any(name.endswith("ForSequenceClassification") for name in architectures)

    @classmethod
    def initialise(
        cls,
        folder: Path,
        template: ChatTemplate,
        options: KindConfig,
        dtype: torch.dtype,
        seed: int = 0,
    ) -> Self:
        """Return a model to be trained: with the head that `folder` has, or else with a new one."""
        is_classifier = cls.recognises(read_config(folder).architectures or ())
        if is_classifier or StoredHead.find(folder) is not None:
            model = cls.load(folder, template, options, dtype)
            if model.model.config.get_text_config().pad_token_id in template.closing_tokens():
                logger.warning(
                    "%s was trained to be read before its pad token, which also ends a response; "
                    "from now on the reward is read at the end of the response",
                    folder,
                )
            return model
        return super().initialise(folder, template, options, dtype, seed)

    @classmethod
    def adapt(cls, language_model: LanguageModel, seed: int) -> LanguageModel:
        """Return the language model's body under a new head, drawn from `seed`."""
        model = new_classifier(language_model.model, seed)
        check, name = language_model.check, type(model).__name__
        if check is not None:
            with reported(Exception, f"a {name} cannot be made of a language model: "):
                logits = classify(model, check.tokens)
            if not reads_last_token(model, check.states, logits):
                raise UserError(f"a {name} does not read the last token alone; choose another kind")
        return LanguageModel(model, language_model.reading, check)

    @classmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """Return a classification model as an explicit reward model.

        Where the head is no linear layer on the last token's state, its own logits are the reward.
        """
        model = load_classifier(folder, dtype)
        check = check_model(model, str(folder))
        language_model = LanguageModel(model, check.reading, check)
        if not (check.is_causal and reads_last_token(model, check.states, check.logits)):
            logger.warning(
                "%s: a %s is computed as a whole, sequence by sequence, which is slower: its head "
                "reads other tokens than the last",
                *(folder, type(model).__name__),
            )
            model.set_attn_implementation(check.attention)
            language_model.reading = LogitsReading()
        language_model.fit_tokenizer(template)
        return cls(language_model, template, options)

    def read_as_transformers(self) -> None:
        """Read the rightmost token that is no pad token, with which the model was trained."""
        if isinstance(self.language_model.reading, LogitsReading):
            return
        self._unread = self.model.config.get_text_config().pad_token_id
        if self._unread is not None and self._unread in self.template.closing_tokens():
            token = self.template.tokenizer.convert_ids_to_tokens(self._unread)
            logger.warning(
                "the pad token %s also ends a response: the reward is read before it, as "
                "AutoModelForSequenceClassification does",
                token,
            )

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Also refuse responses of pad tokens alone, where the pad token is not read."""
        trees = list(trees)
        super().check_readable(trees)
        for tree in trees:
            if any(set(tree.nodes[leaf]) == {self._unread} for leaf in tree.leaves):
                raise UserError(
                    f"record {tree.record} has a response of pad tokens alone, where plain "
                    "transformers would read a token of the prompt"
                )

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """Return (M,) products ⟨u, h⟩ of (M, D) states, in float32 or more for any body.

        bfloat16 has so few digits that different responses would tie.
        """
        if self._score is None:
            return states[:, self.index].float()
        with torch.autocast(states.device.type, enabled=False):
            dtype = next(self._score.parameters()).dtype
            return cast(torch.Tensor, self._score(states.to(dtype)))[:, self.index]

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return the responses' last tokens, or those that are not the pad token."""
        return self.read_positions(pack)

    def read_positions(self, pack: Pack) -> torch.Tensor:
        """Return (L,) indices in the row of the tokens that carry the rewards."""
        if self._unread is None:
            return pack.last_positions
        order = torch.arange(len(pack.response_tokens), device=pack.response_tokens.device)
        order = torch.where(pack.response_tokens == self._unread, 0, order).double()
        last = torch.segment_reduce(order, "max", lengths=pack.response_lengths, unsafe=True)
        return pack.response_positions[last.long()]

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) products at the tokens that carry the rewards."""
        # No view of the head's outputs, which must not leave a sharded model.
        return self.head(states.hidden[self.read_positions(states.pack)]).clone()

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor]:
        """Return the head's products at every token of every response."""
        rewards = states.split(self.head(states.states))
        if self._unread is None:
            return rewards
        read = [tokens != self._unread for tokens in states.split(states.pack.response_tokens)]
        order = [torch.arange(len(kept), device=kept.device) * kept for kept in read]
        return [values[last.cummax(0).values] for values, last in zip(rewards, order, strict=True)]

    def save(self, folder: Path) -> None:
        """Write for transformers, which reads the reward at the last token that is no pad token.

        With an adapter the model stays as it is, and the pad token too.
        """
        if self.language_model.adapter is not None:
            super().save(folder)
            return
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
        """Return the head's product at each response's last token, or where the reward is read."""
        return replace(Terms.at_last_tokens(pack), positions=self.read_positions(pack))


class ExplicitMean(Explicit):
    """r(x, y) = ⟨u, mean over k of h_{x,y≤k}⟩: the head reads every response token (fig. 7).

    Score it with rewardgap: it is saved like an explicit model, of which plain transformers reads
    only the last token.
    """

    reads_end_alone = False

    def read_as_transformers(self) -> None:
        """Read every token: plain transformers computes no mean."""

    def positions(self, pack: Pack) -> torch.Tensor | None:
        """Return all tokens of the responses."""
        return pack.response_positions

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) means of the head's products over each response's tokens."""
        return states.total(self.head(states.states)) / states.pack.response_lengths

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor]:
        """Return running means of the head's products."""
        return [
            values.cumsum(0) / torch.arange(1, len(values) + 1, device=values.device)
            for values in super().prefixes(states)
        ]

    equation = "eq. 4 with mean hidden states"

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return the head's product at every token of a response, with weight 1/T."""
        weights = (1.0 / pack.response_lengths).repeat_interleave(pack.response_lengths)
        return Terms.at_every_token(pack, weights)
