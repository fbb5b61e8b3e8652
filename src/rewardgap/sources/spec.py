"""The words of a data specification, and what a named source offers to be asked for."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardgap.errors import UserError
from rewardgap.records import Row


@dataclass(frozen=True)
class Spec:
    """`WHERE[:PART][?key=value&key=value]`, taken apart but not yet judged."""

    text: str
    where: str
    part: str | None
    options: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Records that are made or fetched under a name.

    Attributes:
        rows: Called with one of `parts` and the options as keywords; its keyword-only parameters
            are the options, annotated `int` or `str` (or one of them or None).
        parts: The valid parts.
    """

    rows: Callable[..., Iterable[Row]]
    parts: tuple[str, ...]


def parse_spec(text: str) -> Spec:
    """Take a specification apart; an existing path is never cut.

    Raises:
        UserError: It is empty, or an option is not `key=value`, or is given twice.
    """
    if not text:
        raise UserError("an empty string names no data: give a file, a data set or a source")
    if os.path.exists(text):
        return Spec(text, text, None, {})
    place, _, query = text.partition("?")
    options = _split_options(query, text)
    if os.path.exists(place):
        return Spec(text, place, None, options)
    # Only behind the last separator, so that the colon of a drive letter stays.
    start_of_name = max(place.rfind("/"), place.rfind("\\")) + 1
    name, colon, part = place[start_of_name:].partition(":")
    return Spec(text, place[:start_of_name] + name, part if colon else None, options)


def option_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Name the keyword-only parameters of a function, with their annotations."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}


def read_options(spec: Spec, types: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a specification the types that their readers annotate.

    Raises:
        UserError: An option is not among `types`, or is not a whole number where one is due.
    """
    values: dict[str, Any] = {}
    for name, value in spec.options.items():
        if name not in types:
            raise UserError(
                f"{spec.text}: unknown option `{name}`: valid are {', '.join(sorted(types))}"
            )
        values[name] = value if types[name] in (str, str | None) else _whole(name, value, spec)
    return values


def _whole(name: str, value: str, spec: Spec) -> int:
    if not value.isdecimal():
        raise UserError(f"{spec.text}: `{name}` must be a whole number, not {value!r}")
    return int(value)


def _split_options(query: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else []:
        name, equals, value = item.partition("=")
        if not equals or name in options:
            raise UserError(f"{text}: write each option once, as key=value, not {item!r}")
        options[name] = value
    return options
