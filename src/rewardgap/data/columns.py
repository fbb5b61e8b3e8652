"""Checked reading of rows: every error names the row and the column.

The readers of a cell raise a `UserError` if it is missing or of another type.
"""

import logging
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError, reported
from rewardgap.io.files import read_number

logger = logging.getLogger(__name__)

NAMES, NAME_LENGTH = 30, 40
"""Numbers of columns, and of the letters of their names, that an error lists."""


def convert(rows: Rows, function: Callable[[Row], Iterable[Row]], left_out: str = "") -> Rows:
    """Yield the rows that a function makes of each row; its errors get the row's location.

    The number of rows of which it makes none is logged after the text `left_out`, if there is one.
    """
    empty = 0
    for location, row in rows:
        with reported(UserError, f"{location}: "):
            converted = list(function(row))
        empty += not converted
        for new in converted:
            yield location, new
    if empty and left_out:
        logger.warning("%s: %d", left_out, empty)


def text(row: Row, key: str) -> str:
    """Read a string."""
    value = row.get(key)
    if not isinstance(value, str):
        raise wrong_cell(row, key, "a string")
    return value


def texts(row: Row, key: str) -> list[str]:
    """Read a list of strings."""
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_cell(row, key, "a list of strings")
    return value


def number(row: Row, key: str) -> float:
    """Read a finite number."""
    value = row.get(key)
    if not is_number(value):
        raise wrong_cell(row, key, "a number")
    return float(value)


def numbers(row: Row, key: str) -> list[float]:
    """Read a list of finite numbers."""
    value = row.get(key)
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise wrong_cell(row, key, "a list of numbers")
    return [float(item) for item in value]


def scalar_cells(row: Row, *excluded: str) -> dict[str, Any]:
    """Return the numbers, strings and booleans of a row, but for the excluded columns."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, str | int | float) and key not in excluded
    }


def wrong_cell(row: Row, key: str, expected: str) -> UserError:
    """Return the error for a cell of the wrong type, which also names the columns."""
    value = row.get(key)
    actual = "missing" if value is None else reprlib.repr(value)
    return UserError(
        f"`{key}` must be {expected}, not {actual} (columns: {listed(row)}): "
        "is this a file in the layout of this source?"
    )


def listed(row: Row) -> str:
    """Return the names of a row's columns, as far as they fit in a line."""
    names = [str(name)[:NAME_LENGTH] for name in row][:NAMES]
    return ", ".join([*names, "…"] if len(row) > NAMES else names)


def distinct_ids(rows: Rows) -> Rows:
    """Make repeated ids of a published data set unique: the second "x" becomes "x-2"."""
    seen: Counter[str] = Counter()
    for location, row in rows:
        if row.get("id") is not None:
            name = str(row["id"])
            seen[name] += 1
            row = {**row, "id": name if seen[name] == 1 else f"{name}-{seen[name]}"}
        yield location, row


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a cell holds a finite number."""
    try:
        read_number(value)
    except ValueError:
        return False
    return True
