"""Data specifications and the sources that they can name."""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardgap.configs.paths import expand_home
from rewardgap.data.records import Rows
from rewardgap.errors import UserError


@dataclass(frozen=True)
class Spec:
    """A specification `NAME[:PART][?key=value&key=value]`, split but not yet checked.

    NAME is a path, the name of a source, or "organisation/name" on the hub.
    """

    text: str
    name: str
    part: str | None
    options: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """A named source of records.

    Attributes:
        rows: Called with one of `parts` and the options as keywords; its keyword-only parameters
            are the options, annotated with a type of `READERS`.
        parts: The valid parts.
        added_tokens: Strings that should be single tokens of a tokenizer for these records; without
            them the text means the same and has more tokens.
        is_correct: Tells whether a prompt is answered by a response, if that can be checked.
    """

    rows: Callable[..., Rows]
    parts: tuple[str, ...]
    added_tokens: tuple[str, ...] = ()
    is_correct: Callable[[str, str], bool] | None = None


def parse_spec(text: str) -> Spec:
    """Split a specification; an existing path is never split.

    Raises:
        UserError: It is empty, or an option is not `key=value` or is given twice.
    """
    if not text:
        raise UserError("an empty string names no data: give a file, a data set or a source")
    text = expand_home(text)
    if os.path.exists(text):
        return Spec(text, text, None, {})
    path, _, query = text.partition("?")
    options: dict[str, str] = {}
    for item in query.split("&") if query else []:
        key, equals, value = item.partition("=")
        if not equals or key in options:
            raise UserError(f"{text}: write each option once, as key=value, not {item!r}")
        options[key] = expand_home(value)
    if os.path.exists(path):
        return Spec(text, path, None, options)
    # Only the last component is split, so that the colon of a drive letter stays.
    start = max(path.rfind("/"), path.rfind("\\")) + 1
    name, colon, part = path[start:].partition(":")
    return Spec(text, path[:start] + name, part if colon else None, options)


def option_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function's keyword-only parameters by name."""
    parameters = inspect.signature(function).parameters.values()
    return {key.name: key.annotation for key in parameters if key.kind is key.KEYWORD_ONLY}


def read_options(spec: Spec, types: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the options of a specification to their types.

    Raises:
        UserError: An option is not among `types`, or is not a number but should be.
    """
    values: dict[str, Any] = {}
    for name, value in spec.options.items():
        if name not in types:
            raise UserError(
                f"{spec.text}: unknown option `{name}`: valid are {', '.join(sorted(types))}"
            )
        read, expected = READERS[types[name]]
        try:
            values[name] = read(value)
        except ValueError:
            raise UserError(f"{spec.text}: `{name}` must be {expected}, not {value!r}") from None
    return values


DIGITS = 18
"""Longer numbers count no rows."""


def _whole(value: str) -> int:
    if not value.isdecimal() or len(value) > DIGITS:
        raise ValueError(value)
    return int(value)


def _finite(value: str) -> float:
    if not math.isfinite(float(value)):
        raise ValueError(value)
    return float(value)


READERS: Mapping[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    str | None: (str, "text"),
    int: (_whole, "a whole number"),
    float: (_finite, "a number"),
}
"""How a value of a type is read, and what it must be."""
