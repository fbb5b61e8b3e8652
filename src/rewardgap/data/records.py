"""Preference records: one prompt, its responses, and which of them beat which."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


Response: TypeAlias = tuple[Message, ...]
"""What the assistant says: usually one message, else all turns from its first to its last."""

Row: TypeAlias = Mapping[str, Any]
"""A row of a file, before it is parsed into a record."""

Rows: TypeAlias = Iterator[tuple[str, Row]]
"""Rows, each with its location for error messages, such as "pairs.jsonl, line 3"."""


@dataclass(frozen=True)
class Record:
    """One prompt, at least one chosen and at least one rejected response.

    Attributes:
        id: Unique among the records of one call to `load`; by default a hash of the content.
        prompt: The conversation that the responses answer; never ends with the assistant.
        chosen: The responses that beat every one of `rejected`.
        rejected: The responses that lose to every one of `chosen`.
        metadata: All other fields of the row, unchanged.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Response, ...]
    rejected: tuple[Response, ...]
    metadata: Mapping[str, Any]

    @property
    def responses(self) -> tuple[Response, ...]:
        """All responses: the chosen ones, then the rejected ones."""
        return self.chosen + self.rejected

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Indices (winner, loser) into `responses`: every chosen with every rejected one."""
        first_rejected = len(self.chosen)
        return tuple(product(range(first_rejected), range(first_rejected, len(self.responses))))

    @property
    def is_pair(self) -> bool:
        """Whether there is exactly one chosen and one rejected response."""
        return len(self.chosen) == len(self.rejected) == 1


def content_id(prompt: Response, chosen: Sequence[Response], rejected: Sequence[Response]) -> str:
    """Hash a record's content to 16 hexadecimal digits, the same for every layout of the row."""
    return _hash([_plain(prompt), list(map(_plain, chosen)), list(map(_plain, rejected))])


def prompt_id(prompt: Response) -> str:
    """Hash a prompt to 16 hexadecimal digits, which show in score rows that a prompt recurs."""
    return _hash(_plain(prompt))


def responses_id(record: "Record") -> str:
    """Hash a record's responses to 16 hexadecimal digits, which show that they were changed."""
    return _hash([list(map(_plain, responses)) for responses in (record.chosen, record.rejected)])


def _plain(messages: Response) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]


def _hash(content: Sequence[Any]) -> str:
    canonical = json.dumps(content, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
