"""The cells of a row in somebody's layout, checked, so that an error names row and column."""

import math
import reprlib
from collections import Counter
from typing import Any, TypeGuard

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError


def text(row: Row, key: str, where: str) -> str:
    """Read a string.

    Raises:
        UserError: It is missing, or something else.
    """
    value = row.get(key)
    if not isinstance(value, str):
        raise wrong_cell(row, key, "a string", where)
    return value


def texts(row: Row, key: str, where: str) -> list[str]:
    """Read a list of strings.

    Raises:
        UserError: It is missing, or something else.
    """
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise wrong_cell(row, key, "a list of strings", where)
    return value


def number(row: Row, key: str, where: str) -> float:
    """Read a finite number.

    Raises:
        UserError: It is missing, or something else.
    """
    value = row.get(key)
    if not _is_number(value):
        raise wrong_cell(row, key, "a number", where)
    return float(value)


def numbers(row: Row, key: str, where: str) -> list[float]:
    """Read a list of finite numbers.

    Raises:
        UserError: It is missing, or something else.
    """
    value = row.get(key)
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise wrong_cell(row, key, "a list of numbers", where)
    return [float(each) for each in value]


def other_cells(row: Row, *known: str) -> dict[str, Any]:
    """Keep what else a row says in numbers, strings and booleans, as metadata of its record."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, str | int | float) and key not in known
    }


def wrong_cell(row: Row, key: str, expected: str, where: str) -> UserError:
    """Say that a column does not hold what its layout asks for, and what columns there are."""
    value = row.get(key)
    found = "missing" if value is None else reprlib.repr(value)
    return UserError(
        f"{where}: `{key}` must be {expected}, not {found} (columns: {', '.join(row)}): "
        "is this a file in the layout of this source?"
    )


def distinct_ids(rows: Rows) -> Rows:
    """Tell repeated ids of a published data set apart: the second "x" becomes "x-2"."""
    seen: Counter[str] = Counter()
    for where, row in rows:
        if row.get("id") is None:
            yield where, row
            continue
        name = str(row["id"])
        seen[name] += 1
        yield where, {**row, "id": name if seen[name] == 1 else f"{name}-{seen[name]}"}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
