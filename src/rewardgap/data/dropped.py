"""Records that cannot be used: refused, or dropped and listed with the reason."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rewardgap.configs.compute import BadRecords
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.errors import BadRecordError, UserError, reported
from rewardgap.io.files import write_text

TRAINING = "the training data"
"""Their name in a list of dropped records."""

logger = logging.getLogger(__name__)


class DroppedRecord(NamedTuple):
    """A record that cannot be used.

    Attributes:
        record: Its id, or where its row is if it could not be read.
        reason: Why it cannot be used.
    """

    record: str
    reason: str


Dropped: TypeAlias = list[DroppedRecord]
"""A list to which dropped records are added."""

Encode: TypeAlias = Callable[[Sequence[Record], int | None], list[Tree]]
"""Returns the trees of records, of at most so many tokens a sequence; see `ChatEncoding`."""


def new_list(bad_records: BadRecords) -> Dropped | None:
    """Return an empty list for records to be dropped, or None if they are to be refused."""
    return [] if bad_records == "drop" else None


def encode_usable(
    encode: Encode, records: Sequence[Record], max_length: int | None, dropped: Dropped | None
) -> list[Tree]:
    """Return the trees of the records that can be written, in order.

    Those that cannot are added to `dropped`; which they are depends on nothing but themselves.

    Raises:
        BadRecordError: A record cannot be written and there is no list of dropped ones.
    """
    try:
        return encode(records, max_length)
    except BadRecordError:
        if dropped is None:
            raise
    trees: list[Tree] = []
    for record in records:
        try:
            trees += encode([record], max_length)
        except BadRecordError as error:
            dropped.append(DroppedRecord(record.id, error.reason))
    return trees


def usable_records(records: Sequence[Record], trees: Sequence[Tree]) -> list[Record]:
    """Return the records that have a tree; raise a UserError if none has."""
    kept = {tree.record for tree in trees}
    if records and not kept:
        raise UserError("bad_records: drop leaves no record; refuse them to see why")
    return [record for record in records if record.id in kept]


def read_dropped(path: Path, data: str = TRAINING) -> set[str]:
    """Return the ids or places of the records of a data set that `write_dropped` has listed."""
    if not path.exists():
        return set()
    errors = (OSError, ValueError, KeyError, TypeError, RecursionError)
    with reported(errors, f"{path} is damaged: "):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["record"] for row in rows if row["data"] == data}


def warn_of_moved(count: int, records: int, first: str) -> None:
    """Say how many records have a response that begins before the prompt's end, and the first."""
    logger.warning(
        "%d of %d records have a response that begins before the end of the generation prompt, the "
        "first is %s: tokens merge there, or the chat template does not write its end before a "
        "given response; the response then begins where their tokens differ",
        *(count, records, first),
    )


def write_dropped(path: Path, dropped: Mapping[str, Sequence[DroppedRecord] | None]) -> None:
    """Write the dropped records of data sets, by name, as JSON lines, and say how many they are.

    Without any, there is no file, and an older one is removed.
    """
    rows = [
        {"data": name, "record": record, "reason": reason}
        for name, records in dropped.items()
        for record, reason in records or ()
    ]
    for name, records in dropped.items():
        if records:
            logger.warning(
                "%s: records dropped that cannot be used: %d, the first %s (%s); all are in %s",
                *(name, len(records), records[0].record, records[0].reason, path),
            )
    if rows:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        path.unlink(missing_ok=True)
