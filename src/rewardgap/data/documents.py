"""Documents to pretrain on: plain text and conversations, from files or named sources."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rewardgap.data.load import named_source, read_rows
from rewardgap.data.messages import plain_text
from rewardgap.data.readers import read_jsonl, whole_rows
from rewardgap.data.records import Message
from rewardgap.data.spec import parse_spec
from rewardgap.errors import UserError, reported

Document: TypeAlias = str | tuple[Message, ...]
"""Plain text, or a conversation."""


def read_documents(paths: str | Sequence[str]) -> list[Document]:
    """Read .txt files (split at blank lines), .jsonl files (a document per line) and sources.

    Raises:
        UserError: A file cannot be read, or a row has neither `text` nor `messages`.
    """
    paths = [paths] if isinstance(paths, str) else paths
    documents: list[Document] = []
    for path in paths:
        if path.endswith(".jsonl"):
            rows = whole_rows(read_jsonl(path))
            documents.extend(_document(row, location) for location, row in rows)
        elif named_source(spec := parse_spec(path)):
            if "shift" in spec.options:
                raise UserError(f"{path}: only preference data can be shifted: leave out shift")
            documents.extend(_document(row, location) for location, row in read_rows(path))
        else:
            documents.extend(filter(None, map(str.strip, _read_text(path).split("\n\n"))))
    if not documents:
        raise UserError(f"{', '.join(paths)}: no text: give at least two documents")
    return documents


def _read_text(path: str) -> str:
    try:
        with reported(OSError, f"{path}: cannot be read: "):
            return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start + 1}): save it as UTF-8") from error


def _document(row: Mapping[str, Any], location: str) -> Document:
    match row:
        case {"text": str(text)} if text:
            with reported(UserError, f"{location}: "):
                return plain_text(text, "text")
        case {"messages": [_, *_] as messages}:
            return tuple(_message(message, location) for message in messages)
    raise UserError(f"{location}: give `text` (a string) or `messages` (a list), not empty")


def _message(value: Any, location: str) -> Message:
    match value:
        case {"role": str(role), "content": str(content)}:
            with reported(UserError, f"{location}: "):
                return Message(plain_text(role, "role"), plain_text(content, "content"))
    raise UserError(f"{location}: a message needs `role` and `content`, both strings")


def texts(document: Document) -> list[str]:
    """Return the texts of a document, without roles."""
    if isinstance(document, str):
        return [document]
    return [message.content for message in document]
