"""Single responses with their prompts; of many at once, equal prompts are computed once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewardgap.data.records import Message, Record, Response
from rewardgap.data.trees import Tokens, Tree
from rewardgap.errors import UserError
from rewardgap.models.kinds.reward_model import RewardModel

Text: TypeAlias = str | Tokens
"""What a chat template has written: text with its special tokens, or token ids."""


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation that ends before the response, which is one or several messages.

    Attributes:
        messages: The conversation.
        arguments: JSON of what a chat template gets beside messages.
    """

    messages: tuple[Message, ...]
    arguments: str = "{}"

    def encode(self, model: RewardModel, responses: Sequence[Any], max_length: int | None) -> Tree:
        """Return the tree of several responses."""
        answers: tuple[Response, ...] = tuple(responses)
        arguments = json.loads(self.arguments)
        record = Record("of the request", self.messages, answers, (), {}, arguments)
        return model.encode([record], max_length)[0]


@dataclass(frozen=True)
class WrittenPrompt:
    """Text that a chat template has written; a response is the text that begins with it."""

    text: Text

    def encode(self, model: RewardModel, responses: Sequence[Any], max_length: int | None) -> Tree:
        """Return the tree of several texts."""
        return model.encoder.encode_written(self.text, responses, max_length)


@dataclass(frozen=True)
class WholeText:
    """A text of which nobody says where its response begins; it is its own response."""

    text: Text

    def encode(self, model: RewardModel, responses: Sequence[Any], max_length: int | None) -> Tree:
        """Return the tree of the text."""
        if not model.reads_end_alone:
            raise UserError(
                "the reward of this kind of model depends on where the response begins: "
                "give the prompt too"
            )
        return model.encoder.encode_written(None, [self.text], max_length)


@dataclass(frozen=True)
class PromptedResponse:
    """What is rewarded: a response to a prompt, in the prompt's form."""

    prompt: ChatPrompt | WrittenPrompt | WholeText
    response: Response | Text


@dataclass(frozen=True)
class Forest:
    """The trees of responses, one for each different prompt.

    Attributes:
        trees: The trees.
        places: Of every response, the index of its tree and its index in the tree.
    """

    trees: list[Tree]
    places: list[tuple[int, int]]

    @classmethod
    def plant(
        cls, model: RewardModel, responses: Sequence[PromptedResponse], max_length: int | None
    ) -> "Forest":
        """Encode responses; equal ones have one place.

        Those to one prompt share a tree, unless they have to be truncated: how much is left of the
        prompt would depend on the longest of them.

        Raises:
            UserError: The chat template or the kind of model does not take a response.
        """
        groups: dict[ChatPrompt | WrittenPrompt | WholeText, dict[Any, None]] = {}
        for item in responses:
            groups.setdefault(item.prompt, {})[item.response] = None
        trees: list[Tree] = []
        places: dict[tuple[Any, Any], tuple[int, int]] = {}
        for prompt, members in groups.items():
            planted = [prompt.encode(model, list(members), max_length)]
            if planted[0].truncated:
                planted = [prompt.encode(model, [member], max_length) for member in members]
            shared = len(planted) < len(members)
            for number, member in enumerate(members):
                tree, leaf = (0, number) if shared else (number, 0)
                places[prompt, member] = (len(trees) + tree, leaf)
            trees += planted
        return cls(trees, [places[item.prompt, item.response] for item in responses])

    @property
    def lengths(self) -> list[int]:
        """Numbers of tokens of every response with its prompt."""
        lengths = [[len(tree.sequence(leaf)) for leaf in tree.leaves] for tree in self.trees]
        return [lengths[tree][leaf] for tree, leaf in self.places]

    def select(self, rewards: Sequence[Sequence[float]]) -> list[float]:
        """Return the reward of every response, from the rewards of the trees."""
        return [rewards[tree][leaf] for tree, leaf in self.places]
