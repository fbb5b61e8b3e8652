"""Baselines, which any reward model has to beat."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import torch

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.packing import Pack


class Constant(RewardModel):
    """r(x, y) = 0: every pair is a tie and accuracy is ½. Only the tokenizer is used and saved."""

    sums_tokens = True

    @classmethod
    def load(
        cls, folder: Path, template: ChatTemplate, options: KindConfig, dtype: torch.dtype
    ) -> Self:
        """Return the baseline; there are no weights to read."""
        return cls(template, options)

    def save(self, folder: Path) -> None:
        """Write the tokenizer and its chat template."""
        self.template.tokenizer.save_pretrained(folder)

    def check_readable(self, trees: Iterable[Tree]) -> None:
        """Accept every tree."""

    def read(self, pack: Pack, positions: torch.Tensor | None = None) -> ResponseStates:
        """Return states of size 0: only the lengths of the responses matter."""
        return ResponseStates(torch.zeros(len(pack.tokens), 0, device=pack.tokens.device), pack)

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) zeros."""
        return torch.zeros(len(states.pack.response_lengths), device=states.hidden.device)

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor]:
        """Return zeros."""
        return states.split(torch.zeros(len(states.pack.response_tokens)))


class Length(Constant):
    """r(x, y) = number of the response's tokens: the longer response wins."""

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) token counts, end of turn included."""
        return states.pack.response_lengths.float()

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor]:
        """Return 1, 2, … T."""
        return [
            ones.cumsum(0) for ones in states.split(torch.ones(len(states.pack.response_tokens)))
        ]
