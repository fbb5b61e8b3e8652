"""Preference records: one prompt, its responses, and which of them beat which."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: user, assistant, system or tool.
        content: Its text.
        further: JSON of what else a chat template reads, such as tool calls; empty if nothing.
    """

    role: str
    content: str
    further: str = ""

    def as_mapping(self) -> dict[str, Any]:
        """Return the message as chat templates read it."""
        further = json.loads(self.further) if self.further else {}
        return {"role": self.role, "content": self.content, **further}


Response: TypeAlias = tuple[Message, ...]
"""What the assistant says: usually one message, else all turns from its first to its last."""

Row: TypeAlias = Mapping[str, Any]
"""A row of a file, before it is parsed into a record."""


class RefusedRow(dict[str, Any]):
    """An empty row in place of one that cannot be read, with the reason that `parse_record` raises.

    A reader that raised it itself could read no further row.
    """

    def __init__(self, reason: str):
        super().__init__()
        self.reason = reason


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
        template_arguments: What a chat template gets beside messages: `tools`, and the row's
            `chat_template_kwargs`.
        row: Index of its row in the data, or of itself in a sample; others may have been dropped.
            None if nobody says.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Response, ...]
    rejected: tuple[Response, ...]
    metadata: Mapping[str, Any]
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = field(default=None, compare=False)

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


def text_or_messages(messages: Response, role: str) -> Any:
    """Return a single plain message of a role as its text, and all else as messages."""
    first, *further = messages
    if not further and first.role == role and not first.further:
        return first.content
    return [message.as_mapping() for message in messages]


def as_text(messages: Response) -> str:
    """Return a prompt or a response as text, with roles where there is more than one turn."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


def record_row(record: Record) -> dict[str, Any]:
    """Return a row of our own layout that is read as the same record, its id included."""
    sides = {"chosen": record.chosen, "rejected": record.rejected}
    if not record.rejected:
        sides = {"responses": record.chosen}
    written = {
        side: [text_or_messages(response, "assistant") for response in responses]
        for side, responses in sides.items()
    }
    arguments = {**record.template_arguments}
    tools = arguments.pop("tools", None)
    further = {"tools": tools, "chat_template_kwargs": arguments}
    return {
        "id": record.id,
        "prompt": text_or_messages(record.prompt, "user"),
        **{side: texts[0] if record.is_pair else texts for side, texts in written.items()},
        **{key: value for key, value in further.items() if value},
        **record.metadata,
    }


def content_id(
    prompt: Response,
    chosen: Sequence[Response],
    rejected: Sequence[Response],
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """Hash a record's content to 16 hexadecimal digits, the same for every layout of the row."""
    content = [_plain(prompt), list(map(_plain, chosen)), list(map(_plain, rejected))]
    return _hash([*content, arguments] if arguments else content)


def prompt_id(prompt: Response) -> str:
    """Hash a prompt to 16 hexadecimal digits, which show in score rows that a prompt recurs."""
    return _hash(_plain(prompt))


def prompt_key(record: Record) -> str:
    """Return the `prompt_id` of a record; of one whose prompt a shift changed, the original's.

    So a record and its counterpart have the same prompt, in whatever words.
    """
    match record.metadata.get("shift"):
        case {"name": str(), "changed": int(), "prompt": str(original)}:
            return original
    return prompt_id(record.prompt)


def responses_id(record: "Record") -> str:
    """Hash a record's responses to 16 hexadecimal digits, which show that they were changed."""
    return _hash([list(map(_plain, responses)) for responses in (record.chosen, record.rejected)])


def _plain(messages: Response) -> list[list[str]]:
    return [
        [message.role, message.content, *([message.further] if message.further else [])]
        for message in messages
    ]


def _hash(content: Sequence[Any]) -> str:
    canonical = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
