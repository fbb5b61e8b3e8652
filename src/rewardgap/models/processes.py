"""Processes that compute together, as far as models know of them: by default there is one alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes among which trees are divided, seen from one of them; here it is alone.

    Those of a run on several devices are in `training/parallel.py`.

    Attributes:
        rank: Which of them this process is, from 0.
        count: How many they are.
        shard: Whether each holds its part of a model's weights alone.
    """

    rank: int = 0
    count: int = 1
    shard: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, which all have to call this, in their order."""
        return [value]

    def decide(self, decision: Callable[[], T]) -> T:
        """Return what the main process decides; all have to call this."""
        return self.gather(decision() if self.is_main else None)[0]  # pyrefly: ignore[bad-return]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.gather(None)

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Bring the weights of a reward model to a device, or each process its part of them."""
        model.to(device)


ALONE = Processes()
