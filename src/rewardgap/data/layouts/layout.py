"""What a layout of preference data is, and what layouts have in common."""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

from rewardgap.data.columns import convert, scalar_cells, wrong_cell
from rewardgap.data.messages import ARGUMENTS, SYSTEM
from rewardgap.data.records import RefusedRow, Row, Rows
from rewardgap.errors import UserError

PASSED_ON = (*SYSTEM, *ARGUMENTS)
"""Columns that mean the same in every layout."""

TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad")

Levels: TypeAlias = list[list[str]]
"""The responses of each score, the best score first."""

Contests: TypeAlias = list[tuple[list[str], list[str]]]
"""Pairs of winning responses and the responses that each of them beats."""


def unchanged(rows: Rows) -> Rows:
    """Return rows as they are."""
    return rows


def anything(row: Row) -> bool:
    """Accept every row."""
    return True


@dataclass(frozen=True)
class RowLayout:
    """A layout of rows, recognised by its columns, and how a row becomes rows of our own layout.

    Attributes:
        columns: The columns that a row must have, not null.
        read: Returns the rows `prompt`, `chosen`, `rejected` of a row; none for a tie.
        without: Columns that a row must not have.
        accepts: Tells from its values whether a row with these columns has the layout.
        gather: Brings together what several rows say, before they are read.
    """

    columns: frozenset[str]
    read: Callable[[Row], Iterator[Row]]
    without: frozenset[str] = field(default=frozenset())
    accepts: Callable[[Row], bool] = anything
    gather: Callable[[Rows], Rows] = unchanged

    def matches(self, row: Row, columns: frozenset[str]) -> bool:
        """Tell whether a row has the layout, given its columns that are not null."""
        named = self.columns <= columns and self.without.isdisjoint(columns)
        return named and self.accepts(row)

    def convert(self, rows: Rows, file: str) -> Rows:
        """Yield rows of our own layout; the number of rows without a preference is logged."""
        left_out = f"{file}: rows left out without a preference"
        return convert(self.gather(rows), self._read_or_refuse, left_out)

    def _read_or_refuse(self, row: Row) -> Iterator[Row]:
        try:
            yield from self.read(row)
        except UserError as error:
            yield RefusedRow(str(error))


def columns(names: str) -> frozenset[str]:
    """Return the columns of a text of names."""
    return frozenset(names.split())


def pair(row: Row, prompt: Any, sides: Sequence[Any], used: str) -> Row:
    """Return a row of our own layout.

    Args:
        row: The row as it was published; its scalars become metadata.
        prompt: Text or messages; None if `chosen` and `rejected` are whole conversations.
        sides: What `parse_record` reads as chosen and as rejected responses.
        used: Names of the columns that these were taken from.
    """
    chosen, rejected = sides
    passed = {key: row[key] for key in PASSED_ON if row.get(key) is not None}
    cells = {**scalar_cells(row, "prompt"), **passed}
    kept = {key: value for key, value in cells.items() if key not in used.split()}
    return {**kept, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def preferred(row: Row, prompt: Any, sides: Sequence[Any], better: float, used: str) -> Row:
    """Return a row of our own layout of two responses, the first better if `better` is positive."""
    return pair(row, prompt, sides if better > 0 else sides[::-1], used)


def contests(
    row: Row, prompt: Any, scores: Sequence[tuple[str, float]], used: str
) -> Iterator[Row]:
    """Yield rows that compare every response with all of a lower score, each pair once.

    The second row of the id "x" has the id "x/2".
    """
    for number, sides in enumerate(all_pairs(levels(scores)), start=1):
        new = pair(row, prompt, sides, used)
        if number > 1 and row.get("id") is not None:
            new = {**new, "id": f"{row['id']}/{number}"}
        yield new


def levels(scores: Sequence[tuple[str, float]]) -> Levels:
    """Return responses by score."""
    by_score: dict[float, list[str]] = {
        score: [] for score in sorted((score for _, score in scores), reverse=True)
    }
    for response, score in scores:
        by_score[score].append(response)
    return list(by_score.values())


def all_pairs(ranked: Levels) -> Contests:
    """Compare every response with all of a lower score: a contest per score but the lowest."""
    lower = [list(chain.from_iterable(ranked[rank:])) for rank in range(1, len(ranked))]
    return list(zip(ranked, lower, strict=False))


def dialogue(turns: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    """Return the messages of pairs of what the user said and what the assistant answered."""
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def figure(row: Row, key: str) -> float:
    """Read a finite number, or the text of one, as tables without types have it."""
    try:
        value = float(row[key])
    except (TypeError, ValueError, OverflowError, KeyError):
        raise wrong_cell(row, key, "a number") from None
    if value - value != 0:  # infinite or no number
        raise wrong_cell(row, key, "a number")
    return value


def items(row: Row, key: str) -> list[Mapping[str, Any]]:
    """Read a list of mappings."""
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise wrong_cell(row, key, "a list of mappings")
    return value


def inner(row: Row, key: str) -> Mapping[str, Any]:
    """Read a mapping."""
    value = row.get(key)
    if not isinstance(value, Mapping):
        raise wrong_cell(row, key, "a mapping")
    return value


def winner(row: Row, key: str, sides: Mapping[str, float]) -> float:
    """Read which response won, by its label in any letter case: a number's sign, 0 for a tie."""
    value = row.get(key)
    if not isinstance(value, str):
        raise wrong_cell(row, key, "a string")
    label = value.strip().lower()
    if label in TIES:
        return 0.0
    if label not in sides:
        valid = ", ".join((*sides, *TIES))
        raise UserError(f"`{key}` must be one of {valid}, not {reprlib.repr(label)}: correct it")
    return sides[label]
