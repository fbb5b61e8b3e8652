"""What gives rewards to texts, be it one reward model or an ensemble."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rewardgap.data.dropped import Dropped
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError

Prompt: TypeAlias = str | Sequence[Message | Mapping[str, str]]
"""A user's words, or a conversation that ends before the response."""

Prefixes: TypeAlias = Sequence[NDArray[np.float32]]
"""For every response of a record the (T,) rewards of its first token, its first two, …, of all."""

RatedRecord: TypeAlias = tuple[Record, Tree, Sequence[float]]
"""A record, how a model reads it, and the rewards of its responses, chosen ones first."""


@dataclass(frozen=True)
class Rated:
    """Records with their rewards.

    Attributes:
        records: Those that could be used, in order.
        trees: How a model reads each, which gives the lengths; of an ensemble, its first member.
        rewards: For each the rewards of its responses, chosen ones first.
        prefixes: For each the raw rewards of the beginnings of its responses, see
            `RewardModel.prefixes`; None if they were not asked for, or one pass does not give them.
    """

    records: Sequence[Record]
    trees: Sequence[Tree]
    rewards: list[list[float]]
    prefixes: Sequence[Prefixes] | None = None


class Rater(ABC):
    """A reward model, or an ensemble, ready to score texts; `rewardgap.load` makes one."""

    @abstractmethod
    def score(self, prompt: Prompt, responses: str | Sequence[str]) -> list[float]:
        """Return rewards of responses to one prompt, which is computed once for all of them.

        They are raw, unless the model was loaded to standardise.

        Args:
            prompt: A user's words, or a conversation that ends before the response, as messages
                or as mappings {role, content}.
            responses: What the assistant might say; a text is a single response.
        """

    @abstractmethod
    def rate(
        self, records: Sequence[Record], dropped: Dropped | None = None, prefixes: bool = False
    ) -> Rated:
        """Return the rewards of records; those that cannot be written are added to `dropped`.

        With `prefixes` also those of the beginnings of responses, where the same pass gives them.

        Raises:
            BadRecordError: A record cannot be written and there is no list of dropped ones.
        """

    def best(self, prompt: Prompt, responses: Sequence[str]) -> str:
        """Return the response of the highest reward (best-of-n), of equal ones the first.

        Raises:
            UserError: There are no responses.
        """
        if isinstance(responses, str) or not responses:
            raise UserError("best needs a list of at least one response")
        rewards = self.score(prompt, responses)
        return responses[rewards.index(max(rewards))]
