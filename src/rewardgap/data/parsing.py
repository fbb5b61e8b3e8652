"""Parsing of rows into records: every accepted layout, checked, with unique ids."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np

from rewardgap.configs.compute import Identical
from rewardgap.data.dropped import Dropped, DroppedRecord
from rewardgap.data.records import Message, Record, Response, Row, content_id
from rewardgap.errors import UserError, reported

logger = logging.getLogger(__name__)

HASH_BYTES = 16
LATEST_HASHES = 2**16


def parse_record(row: Row, location: str) -> Record:
    """Return the record of a row in any of the accepted layouts.

    `prompt` is a string or a list of messages `{role, content}`; `chosen` and `rejected` are a
    string, a list of messages, or a list of either for several responses. A response that repeats
    the prompt at its start loses that repetition. Without `prompt`, it is the longest common
    prefix of the conversations in `chosen` and `rejected`. A null field counts as missing.

    Raises:
        UserError: A key is missing, or has the wrong type, or an empty value; begins with the row's
            `location`, such as "pairs.jsonl, line 3".
    """
    with reported(UserError, f"{location}: "):
        return _parse(row)


def _parse(row: Row) -> Record:
    chosen, rejected = _read_responses(row, "chosen"), _read_responses(row, "rejected")
    if row.get("prompt") is None:
        prompt = _common_prompt(chosen + rejected)
    else:
        prompt = _read_turns(row["prompt"], "prompt", "user", "a string or a list of messages")
    _check_prompt(prompt)
    chosen = tuple(_answer(prompt, response, "chosen") for response in chosen)
    rejected = tuple(_answer(prompt, response, "rejected") for response in rejected)
    known = {"id", "prompt", "chosen", "rejected"}
    return Record(
        id=_read_id(row.get("id")) or content_id(prompt, chosen, rejected),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        metadata={key: value for key, value in row.items() if key not in known},
    )


class TakenIds:
    """The ids that were given out.

    Of every id only a 128-bit hash is kept: among a million ids, two of the same hash have a
    probability of 10⁻²⁷. Hashes are kept in a sorted array, but for the latest ones. A million ids
    take 23 MB (109 MB as a set of strings).
    """

    def __init__(self) -> None:
        self._sorted = np.empty(0, f"S{HASH_BYTES}")
        self._latest: set[bytes] = set()
        self._repeats: Counter[str] = Counter()

    def take(self, name: str) -> bool:
        """Take an id; return False if it is taken."""
        key = hashlib.blake2b(name.encode(), digest_size=HASH_BYTES).digest()
        position = int(self._sorted.searchsorted(key))
        neighbour = self._sorted[position : position + 1].tolist()
        if key in self._latest or neighbour == [key.rstrip(b"\0")]:  # NumPy drops zeros at the end
            return False
        self._latest.add(key)
        if len(self._latest) == LATEST_HASHES:
            latest = np.array(list(self._latest), self._sorted.dtype)
            self._sorted = np.sort(np.concatenate([self._sorted, latest]), kind="stable")
            self._latest.clear()
        return True

    def count(self, name: str) -> int:
        """Count another use of a taken id; return the number of uses."""
        self._repeats[name] += 1
        return 1 + self._repeats[name]


def collect(
    rows: Iterable[tuple[str, Row]],
    identical: Identical,
    taken: TakenIds,
    bad: Dropped | None = None,
) -> Iterator[Record]:
    """Parse rows into records with unique ids, one by one.

    The second record of the same content and without an id gets the suffix "-2", the third "-3".
    Ids in `taken` were given out before; it is updated. `identical` and `bad` are those of `load`.

    Raises:
        UserError: A row cannot be read, or has the id of another row, and `bad` is no list.
    """
    dropped, first_dropped = 0, ""
    for location, row in rows:
        try:
            record = parse_record(row, location)
            differs = set(record.chosen).isdisjoint(record.rejected)
            record = _with_unique_id(record, location, taken) if differs else record
        except UserError as error:
            if bad is None:
                raise UserError(f"{error}; `bad_records: drop` leaves such records out") from error
            bad.append(DroppedRecord(location, str(error).removeprefix(f"{location}: ")))
            continue
        if differs:
            yield record
        elif identical == "drop":
            dropped, first_dropped = dropped + 1, first_dropped or location
        else:
            remedy = "remove the row or set `identical_pairs: drop`"
            raise UserError(f"{location}: the same response is both chosen and rejected: {remedy}")
    if dropped:
        reason = "whose chosen and rejected responses are the same"
        logger.warning("records dropped %s: %d, the first at %s", reason, dropped, first_dropped)


def _with_unique_id(record: Record, location: str, taken: TakenIds) -> Record:
    if taken.take(record.id):
        return record
    if record.id != content_id(record.prompt, record.chosen, record.rejected):
        raise UserError(
            f"{location}: `id` {record.id!r} occurs twice: give every record its own id, or none"
        )
    # A file written from loaded records may contain suffixed ids; the loop passes over them.
    while True:
        suffixed = f"{record.id}-{taken.count(record.id)}"
        if taken.take(suffixed):
            return replace(record, id=suffixed)


def _read_id(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError("`id` must be a non-empty string or a whole number")
    return _text(str(value), "id")


def _read_responses(row: Row, key: str) -> tuple[Response, ...]:
    value = row.get(key)
    if value is None:
        present = ", ".join(f"`{name}`" for name in row) or "none"
        raise UserError(f"`{key}` is missing (keys present: {present}): add it")
    if not isinstance(value, Sequence):
        layouts = "a string, a list of messages, or a list of several responses"
        raise _wrong_type(value, key, layouts)
    if not value and not isinstance(value, str):
        raise UserError(f"`{key}` is an empty list: give at least one response")
    single = isinstance(value, str) or isinstance(value[0], Mapping)
    layouts = "strings or lists of messages inside the list"
    responses = [value] if single else value
    return tuple(_read_turns(response, key, "assistant", layouts) for response in responses)


def _read_turns(value: Any, key: str, role: str, layouts: str) -> tuple[Message, ...]:
    """Read the text of a role, or messages."""
    if isinstance(value, str):
        return (Message(role, _text(value, key)),)
    if not isinstance(value, Sequence):
        raise _wrong_type(value, key, layouts)
    if not value:
        raise UserError(f"`{key}` has no messages: give at least one")
    return tuple(_read_message(message, key) for message in value)


def _read_message(value: Any, key: str) -> Message:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, key, "messages {role, content} inside the list")
    for field in ("role", "content"):
        if value.get(field) is None:
            raise UserError(f"a message of `{key}` has no `{field}`: add it")
        if not isinstance(value[field], str):
            raise _wrong_type(value[field], f"{key}.{field}", "a string")
    extra = [name for name in value if name not in ("role", "content") and value[name]]
    if extra:
        raise UserError(
            f"a message of `{key}` has `{extra[0]}`, which is not supported: "
            "only `role` and `content` are; remove it"
        )
    return Message(value["role"], _text(value["content"], f"{key}.content"))


def _text(value: str, key: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"`{key}` has half of a surrogate pair at character {error.start + 1}, "
            "which is not text: write the whole character"
        ) from error
    return value


def _common_prompt(conversations: Sequence[Response]) -> tuple[Message, ...]:
    if any(len(conversation) == 1 for conversation in conversations):
        raise UserError(
            "`prompt` is missing: add it, or give `chosen` and `rejected` as "
            "conversations (lists of messages) that begin with the prompt"
        )
    if len(set(conversations)) == 1:
        return conversations[0][:-1]  # the same on both sides: `collect` drops or refuses it
    turns = list(zip(*conversations, strict=False))
    prompt = tuple(turn[0] for turn in takewhile(lambda turn: len(set(turn)) == 1, turns))
    if len(prompt) == len(turns):
        raise UserError(
            "a conversation of `chosen` or `rejected` is only the beginning of "
            "another, so it has no response: add `prompt`"
        )
    return prompt


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    if not prompt:
        raise UserError(
            "`prompt` is missing and `chosen` and `rejected` do not begin with the "
            "same messages: add `prompt`"
        )
    if not any(message.content.strip() for message in prompt):
        raise UserError("`prompt` is empty: give it text or remove the row")
    if prompt[-1].role == "assistant":
        raise UserError("`prompt` ends with an assistant message: move it into the responses")


def _answer(prompt: tuple[Message, ...], response: Response, key: str) -> Response:
    """Remove the prompt from a conversation that repeats it, and check the rest."""
    if response[: len(prompt)] == prompt:
        response = response[len(prompt) :]
    if not response:
        raise UserError(f"`{key}` is only the prompt: add the assistant's message")
    if response[0].role != "assistant":
        raise UserError(
            f"`{key}` begins with a message of {response[0].role!r} that is not in "
            "`prompt`: begin with the assistant's message or with the same messages as `prompt`"
        )
    if response[-1].role != "assistant":
        raise UserError(
            f"`{key}` ends with a message of {response[-1].role!r}: "
            "end with the assistant's message"
        )
    if not response[-1].content.strip():
        raise UserError(f"`{key}` has an empty response: give it text or remove the row")
    return response


def _wrong_type(value: Any, key: str, expected: str) -> UserError:
    return UserError(f"`{key}` must be {expected}, not {type(value).__name__}")
