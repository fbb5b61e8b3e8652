"""The words of a data specification, and what a named source offers to be asked for."""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardgap.data.records import Rows
from rewardgap.errors import UserError


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
            are the options, annotated with a type that `READERS` has.
        parts: The valid parts.
        added_tokens: What a tokenizer should get as single tokens before it is used on the
            records; without them the text means the same and has more tokens.
        is_correct: Whether a prompt is answered by a response, where that can be told.
    """

    rows: Callable[..., Rows]
    parts: tuple[str, ...]
    added_tokens: tuple[str, ...] = ()
    is_correct: Callable[[str, str], bool] | None = None


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
        UserError: An option is not among `types`, or is not a number where one is due.
    """
    values: dict[str, Any] = {}
    for name, value in spec.options.items():
        if name not in types:
            raise UserError(
                f"{spec.text}: unknown option `{name}`: valid are {', '.join(sorted(types))}"
            )
        values[name] = READERS[types[name]](name, value, spec)
    return values


def _text(name: str, value: str, spec: Spec) -> str:
    return value


def _whole(name: str, value: str, spec: Spec) -> int:
    if not value.isdecimal():
        raise UserError(f"{spec.text}: `{name}` must be a whole number, not {value!r}")
    return int(value)


def _number(name: str, value: str, spec: Spec) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{spec.text}: `{name}` must be a number, not {value!r}")
    return number


READERS: Mapping[Any, Callable[[str, str, Spec], Any]] = {
    str: _text,
    str | None: _text,
    int: _whole,
    float: _number,
}


def _split_options(query: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else []:
        name, equals, value = item.partition("=")
        if not equals or name in options:
            raise UserError(f"{text}: write each option once, as key=value, not {item!r}")
        options[name] = value
    return options
