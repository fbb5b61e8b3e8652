"""Records in other words: a shift with its settings, and what it makes of records."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from rewardgap.configs.flags import similar
from rewardgap.configs.shifting import Side
from rewardgap.data.parsing import parse_record
from rewardgap.data.records import Message, Record, Response, Rows, prompt_key, record_row
from rewardgap.data.shifts import SHIFTS
from rewardgap.data.shifts.shift import Passage
from rewardgap.errors import UserError, reported

logger = logging.getLogger(__name__)

COLUMN = "shift"
"""The column that says what was done to a record."""
AUTO = "auto"
"""The first side of the shift."""
ROLES: Mapping[str, str] = {"prompt": "user"}
"""Whose messages a shift of a side changes, if not the assistant's."""


@dataclass(frozen=True)
class Shifting:
    """A shift with its settings.

    Attributes:
        name: The shift.
        rate: Share of the places that are changed.
        seed: Which places are drawn; the same text is always changed in the same way.
        side: The texts that are changed.
    """

    name: str
    rate: float
    seed: int
    side: Side

    def text(self, text: str, prompt: str = "") -> str:
        """Return a text, shifted; the text itself if nothing or nothing but spaces would remain."""
        draw = Random(f"{self.name} {self.seed} {text}")
        new = SHIFTS[self.name].apply(Passage(text, self.rate, draw, prompt))
        return new if new.strip() else text

    def record(self, record: Record) -> Record:
        """Return a record of the same id and ranking, with the column `shift`.

        A record whose chosen response would equal a rejected one stays as it is.

        Raises:
            UserError: The record does not have the side.
        """
        sides = ("chosen", "rejected") if self.side == "responses" else (self.side,)
        if self.side in ("chosen", "rejected") and not record.rejected:
            raise UserError(
                f"record {record.id} has no labels, so no {self.side} response: use side responses"
            )
        asked = "" if self.side == "prompt" else "\n".join(m.content for m in record.prompt)
        before = [text for side in sides for text in _sides(record)[side]]
        after = [self._turns(turns, asked) for turns in before]
        shifted = iter(after)
        parts = {side: tuple(next(shifted) for _ in _sides(record)[side]) for side in sides}
        new = replace(
            record,
            prompt=parts.get("prompt", (record.prompt,))[0],
            chosen=parts.get("chosen", record.chosen),
            rejected=parts.get("rejected", record.rejected),
        )
        changed = sum(a != b for a, b in zip(before, after, strict=True))
        if not set(new.chosen).isdisjoint(new.rejected):
            new, changed = record, 0
        mark = {"name": self.name, "rate": self.rate, "seed": self.seed, "side": self.side}
        mark |= {"changed": changed, "texts": len(before)}
        if self.side == "prompt" or COLUMN in record.metadata:
            mark["prompt"] = prompt_key(record)
        return replace(new, metadata={**record.metadata, COLUMN: mark})

    def _turns(self, turns: Response, asked: str) -> Response:
        role = ROLES.get(self.side, "assistant")
        return tuple(
            Message(turn.role, self.text(turn.content, asked), turn.further)
            if turn.role == role
            else turn
            for turn in turns
        )


def _sides(record: Record) -> dict[str, tuple[Response, ...]]:
    return {"prompt": (record.prompt,), "chosen": record.chosen, "rejected": record.rejected}


def shifting(name: str, rate: float | None = None, seed: int = 0, side: str = AUTO) -> Shifting:
    """Return a shift with its settings; by default the shift's own rate and side.

    Raises:
        UserError: There is no such shift, the rate is not from 0 to 1, or the shift does not change
            the side.
    """
    if name not in SHIFTS:
        likely = " or ".join(similar(name, SHIFTS))
        hint = f"did you mean {likely}?" if likely else "`rewardgap shift list` lists all"
        raise UserError(f"unknown shift {name!r}; {hint}")
    shift = SHIFTS[name]
    rate = shift.rate if rate is None else rate
    if not 0 <= rate <= 1:
        raise UserError(f"rate must be from 0 to 1; it is {rate:g}")
    for known in shift.sides:
        if side in (AUTO, known):
            return Shifting(name, rate, seed, known)
    valid = ", ".join(shift.sides)
    raise UserError(f"`side` of the shift {name} must be one of {valid}, not {side!r}")


class Count(NamedTuple):
    """Records that a shift changed, and all."""

    changed: int = 0
    records: int = 0

    def add(self, record: Record) -> "Count":
        """Count a shifted record."""
        return Count(self.changed + bool(record.metadata[COLUMN]["changed"]), self.records + 1)


def shift_records(records: Iterable[Record], plan: Shifting, data: str) -> Iterator[Record]:
    """Yield records, shifted; how many could not be changed is said at the end.

    Raises:
        UserError: A record does not have the side; begins with the name of the data.
    """
    count = Count()
    for record in records:
        with reported(UserError, f"{data}: "):
            shifted = plan.record(record)
        count = count.add(shifted)
        yield shifted
    say_count(data, plan, count)


def say_count(data: str, plan: Shifting, count: Count) -> None:
    """Say how many records a shift changed; it is a warning if there are none."""
    level = logging.INFO if count.changed or not plan.rate else logging.WARNING
    logger.log(
        level,
        "%s: %s changed %d of %d records; %d have nothing to change",
        *(data, plan.name, *count, count.records - count.changed),
    )


def shift_rows(rows: Rows, plan: Shifting) -> Rows:
    """Yield rows of our own layout, shifted; a row that is no record stays as it is."""
    for location, row in rows:
        try:
            record = parse_record(row, location)
        except UserError:
            yield location, row
            continue
        shifted = record_row(plan.record(record))
        yield location, {**shifted, "id": row.get("id")}
