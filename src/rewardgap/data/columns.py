"""Checked reading of the cells of a row, so that an error names row and column."""

import math
import reprlib
from collections import Counter
from typing import Any, TypeGuard

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError


def text(row: Row, key: str, location: str) -> str:
    """Read a string.

    Raises:
        UserError: It is missing, or is not a string.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise wrong_cell(row, key, "a string", location)
    return value


def texts(row: Row, key: str, location: str) -> list[str]:
    """Read a list of strings.

    Raises:
        UserError: It is missing, or is not a list of strings.
    """
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_cell(row, key, "a list of strings", location)
    return value


def number(row: Row, key: str, location: str) -> float:
    """Read a finite number.

    Raises:
        UserError: It is missing, or is not a finite number.
    """
    value = row.get(key)
    if not _is_number(value):
        raise wrong_cell(row, key, "a number", location)
    return float(value)


def numbers(row: Row, key: str, location: str) -> list[float]:
    """Read a list of finite numbers.

    Raises:
        UserError: It is missing, or is not a list of finite numbers.
    """
    value = row.get(key)
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise wrong_cell(row, key, "a list of numbers", location)
    return [float(item) for item in value]


def scalar_cells(row: Row, *excluded: str) -> dict[str, Any]:
    """Return the numbers, strings and booleans of a row, but for the excluded columns."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, str | int | float) and key not in excluded
    }


def wrong_cell(row: Row, key: str, expected: str, location: str) -> UserError:
    """Return the error for a cell of the wrong type, which also names the columns."""
    value = row.get(key)
    actual = "missing" if value is None else reprlib.repr(value)
    return UserError(
        f"{location}: `{key}` must be {expected}, not {actual} (columns: {', '.join(row)}): "
        "is this a file in the layout of this source?"
    )


def distinct_ids(rows: Rows) -> Rows:
    """Make repeated ids of a published data set unique: the second "x" becomes "x-2"."""
    seen: Counter[str] = Counter()
    for location, row in rows:
        if row.get("id") is None:
            yield location, row
            continue
        name = str(row["id"])
        seen[name] += 1
        yield location, {**row, "id": name if seen[name] == 1 else f"{name}-{seen[name]}"}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
