"""How records become token trees; a kind of reward model may write them in its own way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.data.trees import Tokens, Tree
from rewardgap.errors import reported
from rewardgap.io.cache import cache_key
from rewardgap.io.files import read_number


class ChatEncoding:
    """Write records as conversations: the prompt is the root of a tree, each response a leaf.

    Another way of writing is a subclass with another `name`, which is part of the cache key of its
    trees: choose a new one whenever they change. Kinds of one encoding and equal options share
    trees, in memory and on disk.
    """

    name: ClassVar[str] = "chat"

    def __init__(self, template: ChatTemplate, options: KindConfig):
        self.template = template
        self.options = options

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Return the trees that are scored; the first leaves are the responses, chosen ones first.

        Sequences are truncated to at most `max_length` tokens.
        """
        return self.template.encode(records, max_length)

    def encode_written(
        self,
        prompt: str | Tokens | None,
        texts: Sequence[str | Tokens],
        max_length: int | None = None,
    ) -> Tree:
        """Return the tree of texts, or token ids, that a chat template has written already.

        Args:
            prompt: What all of them begin with, up to where the response begins; None if nobody
                knows, so that a response begins after the first token.
            texts: Prompt and response, special tokens included.
            max_length: Truncate sequences to at most this many tokens.

        Raises:
            UserError: A text does not begin with the prompt, or is nothing more.
        """
        return self.template.encode_written(prompt, texts, max_length)

    def encode_for_training(
        self, records: Sequence[Record], max_length: int | None = None
    ) -> list[Tree]:
        """Return the trees that the loss reads; leaves after the responses are allowed."""
        return self.encode(records, max_length)

    def trees_for_training(
        self, records: Sequence[Record], max_length: int | None = None
    ) -> list[Tree]:
        """Return the trees of `encode_for_training` with the margins of their records.

        Raises:
            UserError: A record has no number in the column of margins.
        """
        trees = self.encode_for_training(records, max_length)
        column = self.options.margin_column
        if column is None:
            return trees
        margins = {record.id: _margin(record, column) for record in records}
        return [replace(tree, margin=margins[tree.record]) for tree in trees]

    def key(self, max_length: int | None) -> str:
        """Return the cache key of trees: equal if the same records give the same trees.

        Options that decide no token and no margin do not count.
        """
        options = replace(self.options, beta=None, label=None, label_smoothing=None)
        return cache_key(self.name, options, max_length, self.template.fingerprint)


def _margin(record: Record, column: str) -> float:
    value = record.metadata.get(column)
    with reported(ValueError, f"record {record.id}: margin_column names {column!r}, where "):
        return read_number(value)
