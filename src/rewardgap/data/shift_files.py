"""The commands shift and shift list: data in other words, a file for each shift."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rewardgap.configs.flags import similar
from rewardgap.configs.shifting import ShiftConfig, ShiftListConfig
from rewardgap.data.dropped import new_list, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import refuse_wrong, stream
from rewardgap.data.records import Record, record_row
from rewardgap.data.shifting import AUTO, Count, Shifting, shifting
from rewardgap.data.shifts import SHIFTS
from rewardgap.errors import UserError, reported
from rewardgap.io.files import refuse_existing, whole_file
from rewardgap.io.notebook import NotebookResult
from rewardgap.io.progress import progress

ALL = "all"


@dataclass(frozen=True, repr=False)
class ShiftResult(NotebookResult):
    """Files of shifted records.

    Attributes:
        files: By shift, its file and how many records it changed.
    """

    files: dict[Shifting, tuple[Path, Count]]

    def __repr__(self) -> str:
        return f"ShiftResult({len(self.files)} files)"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each file: the shift, its settings, and records changed or not."""
        return [
            {
                **{"shift": plan.name, "rate": plan.rate, "seed": plan.seed, "side": plan.side},
                **{"records": count.records, "changed": count.changed},
                **{"unchanged": count.records - count.changed, "out": str(path)},
            }
            for plan, (path, count) in self.files.items()
        ]


@by_keywords(ShiftConfig)
def shift(config: ShiftConfig) -> ShiftResult:
    """Write records in other words, with their ids and ranking, a whole file for each shift.

    A record that a shift cannot change is written as it is: the column `shift` says so.

    Raises:
        UserError: There is no such shift, the data cannot be read or do not have the side, or a
            file is there already or cannot be written.
    """
    plans = _plans(config)
    for path in plans.values():
        refuse_existing(path, config.overwrite)
    refuse_wrong(config.data)
    dropped = new_list(config.bad_records)
    records = stream(config.data, config.identical_pairs, dropped, unlabelled=True)
    counts = _write(records, plans, config.data)
    write_dropped(Path(f"{config.out}.dropped.jsonl"), {config.data: dropped})
    return ShiftResult({plan: (path, counts[plan]) for plan, path in plans.items()})


def _plans(config: ShiftConfig) -> dict[Shifting, Path]:
    """Return the shifts with their files."""
    settings = (config.rate, config.seed, config.side)
    if config.name != ALL:
        if config.name not in SHIFTS and ALL in similar(config.name, [ALL, *SHIFTS]):
            raise UserError(f"unknown shift {config.name!r}; did you mean all?")
        plan = shifting(config.name, *settings)
        if Path(config.out).is_dir():
            raise UserError(f"{config.out} is a folder: name the file to write")
        return {plan: Path(config.out)}
    if Path(config.out).is_file():
        raise UserError(f"{config.out} is a file: name a folder for the files of all shifts")
    names = [
        name
        for name, known in SHIFTS.items()
        if known.preserves and config.side in (AUTO, *known.sides)
    ]
    return {shifting(name, *settings): Path(config.out, f"{name}.jsonl") for name in names}


def _write(
    records: Iterable[Record], plans: dict[Shifting, Path], data: str
) -> dict[Shifting, Count]:
    counts = dict.fromkeys(plans, Count())
    with ExitStack() as stack:
        files = {plan: stack.enter_context(_opened(path)) for plan, path in plans.items()}
        for record in progress(records, f"shifting {data}", unit="records"):
            for plan, file in files.items():
                with reported(UserError, f"{data}: "):
                    shifted = plan.record(record)
                counts[plan] = counts[plan].add(shifted)
                row = record_row(shifted)
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    return counts


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        yield file


@dataclass(frozen=True, repr=False)
class ShiftList(NotebookResult):
    """The shifts that there are."""

    def __repr__(self) -> str:
        return f"ShiftList({len(SHIFTS)} shifts)"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each shift: name, what it keeps, rate, sides, and what it does."""
        return [
            {
                **{"shift": name, "keeps": known.keeps, "rate": known.rate},
                **{"sides": list(known.sides), "summary": known.summary},
            }
            for name, known in SHIFTS.items()
        ]


@by_keywords(ShiftListConfig)
def shifts(config: ShiftListConfig) -> ShiftList:
    """Return what every shift does, what it keeps, and its rate."""
    return ShiftList()
