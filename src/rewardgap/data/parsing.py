"""Parsing of rows into records: every accepted layout, checked, with unique ids."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from rewardgap.configs.compute import Identical
from rewardgap.data.columns import listed
from rewardgap.data.dropped import Dropped, DroppedRecord
from rewardgap.data.messages import (
    ARGUMENTS,
    SYSTEM,
    plain_text,
    read_turns,
    template_arguments,
    with_system,
    wrong_type,
)
from rewardgap.data.records import Message, Record, RefusedRow, Response, Row, content_id
from rewardgap.errors import UserError, reported

logger = logging.getLogger(__name__)

COLUMNS = {"id", "prompt", "chosen", "rejected", *SYSTEM, *ARGUMENTS}
"""The columns that determine a record; all others are its metadata."""

HASH_BYTES = 16
LATEST_HASHES = 2**16


def parse_record(row: Row, location: str, number: int | None = None) -> Record:
    """Return the record of a row in any of the accepted layouts.

    `prompt` is a string or a list of messages `{role, content}`; `chosen` and `rejected` are a
    string, a list of messages, or a list of either for several responses. A response that repeats
    the prompt at its start loses that repetition. Without `prompt`, it is the longest common
    prefix of the conversations in `chosen` and `rejected`; so it is beside whole conversations
    with a string `prompt` that is one of their turns. `system` becomes the first message. A row of
    `response` or `responses` alone gives a record without rejected ones. A null field counts as
    missing. The record keeps the `number` of its row.

    Raises:
        UserError: A key is missing, or has the wrong type, or an empty value; begins with the row's
            `location`, such as "pairs.jsonl, line 3".
    """
    with reported((UserError, RecursionError), f"{location}: "):
        if isinstance(row, RefusedRow):
            raise UserError(row.reason)
        return _parse(row, number)


def unlabelled_column(row: Row) -> str | None:
    """Return the column of responses that a row has instead of chosen and rejected ones."""
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return None
    return next((key for key in ("response", "responses") if row.get(key) is not None), None)


def _parse(row: Row, number: int | None) -> Record:
    responses = unlabelled_column(row)
    first = responses or "chosen"
    chosen = _read_responses(row, first)
    rejected = () if responses else _read_responses(row, "rejected")
    if row.get("prompt") is None:
        prompt = _common_prompt(chosen + rejected)
    else:
        prompt = read_turns(row["prompt"], "prompt", "user", "a string or a list of messages")
        if isinstance(row["prompt"], str):
            prompt = _whole_prompt(prompt, chosen + rejected)
    _check_prompt(prompt)
    chosen = tuple(_answer(prompt, response, first) for response in chosen)
    rejected = tuple(_answer(prompt, response, "rejected") for response in rejected)
    prompt, arguments = with_system(row, prompt), template_arguments(row)
    return Record(
        id=_read_id(row.get("id")) or content_id(prompt, chosen, rejected, arguments),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        metadata={key: row[key] for key in row if key not in (*COLUMNS, responses)},
        template_arguments=arguments,
        row=number,
    )


class TakenIds:
    """The ids that were given out.

    Of every id only a 128-bit hash is kept: among a million ids, two of the same hash have a
    probability of 10⁻²⁷. Hashes are kept in a sorted array, but for the latest ones. A million ids
    take 23 MB (109 MB as a set of strings).
    """

    def __init__(self) -> None:
        self._file: str | None = None
        self._of_file: TakenIds | None = None
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

    def in_file(self, file: str) -> "TakenIds | None":
        """Return the ids taken by `file`, the latest of several files; None if it is the first."""
        if self._file is None:
            self._file = file
        elif self._file != file:
            self._file, self._of_file = file, TakenIds()
        return self._of_file

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

    The second record of the same content and without an id gets the suffix "-2", the third "-3". An
    id that an earlier file has gets the name of its file as prefix, as "deu/7". Ids in `taken` were
    given out before; it is updated. `identical` and `bad` are those of `load`.

    Raises:
        UserError: A row cannot be read, or has the id of another row, and `bad` is no list.
    """
    dropped, first_dropped = 0, ""
    for number, (location, row) in enumerate(rows):
        try:
            record = parse_record(row, location, number)
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
    file = location.rpartition(", ")[0]
    of_file = taken.in_file(file)
    is_new = of_file is None or of_file.take(record.id)
    if taken.take(record.id):
        return record
    content = record.prompt, record.chosen, record.rejected, record.template_arguments
    if record.id == content_id(*content):
        return _with_suffix(record, taken)
    if is_new and of_file is not None:
        for prefix in (Path(file).name.partition(".")[0], file):
            if taken.take(f"{prefix}/{record.id}"):
                return replace(record, id=f"{prefix}/{record.id}")
    raise UserError(
        f"{location}: `id` {record.id!r} occurs twice: give every record its own id, or none"
    )


def _with_suffix(record: Record, taken: TakenIds) -> Record:
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
    return plain_text(str(value), "id")


def _read_responses(row: Row, key: str) -> tuple[Response, ...]:
    value = row.get(key)
    if value is None:
        present = listed(row) or "none"
        scored = ", or `response` for rewards without labels" if key == "chosen" else ""
        raise UserError(f"`{key}` is missing (keys present: {present}): add it{scored}")
    if not isinstance(value, Sequence):
        layouts = "a string, a list of messages, or a list of several responses"
        raise wrong_type(value, key, layouts)
    if not value and not isinstance(value, str):
        raise UserError(f"`{key}` is an empty list: give at least one response")
    single = isinstance(value, str) or isinstance(value[0], Mapping)
    layouts = "strings or lists of messages inside the list"
    responses = [value] if single else value
    return tuple(read_turns(response, key, "assistant", layouts) for response in responses)


def _common_prompt(conversations: Sequence[Response]) -> tuple[Message, ...]:
    if any(len(conversation) == 1 for conversation in conversations):
        raise UserError(
            "`prompt` is missing: add it, or give `chosen` and `rejected` as conversations "
            "(lists of messages) that begin with the prompt: a text does not say where it ends"
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


def _whole_prompt(prompt: Response, conversations: Sequence[Response]) -> Response:
    """Return the common beginning of whole conversations, of which `prompt` is one user's turn.

    Any other prompt is returned as it is.
    """
    if any(turns[0].role == "assistant" for turns in conversations):
        return prompt
    turns = zip(*(conversation[:-1] for conversation in conversations), strict=False)
    shared = [turn[0] for turn in takewhile(lambda turn: len(set(turn)) == 1, turns)]
    while shared and shared[-1].role == "assistant":
        shared.pop()
    asked = prompt[0].content.strip()
    if any(turn.role == "user" and turn.content.strip() == asked for turn in shared):
        return tuple(shared)
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
    if not response[-1].content.strip() and not response[-1].further:
        raise UserError(f"`{key}` has an empty response: give it text or remove the row")
    return response
