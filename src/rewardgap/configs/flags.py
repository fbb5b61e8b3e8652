"""The words of a command line as flags that a parser of typed keys takes, and its complaints.

Dashes in a flag stand for the underscores of its key, a bare boolean flag is true, a list takes
words up to the next flag, and bare words go to a key that is named for them. A dot goes into a
mapping, or joins the words of a key; an inner one becomes a slash.
"""

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from rewardgap.errors import UserError

ALONE = ("-h", "--help", "--print_config")
BOOLEANS = ("true", "false")

Fields = Mapping[str, Field[Any]]


@dataclass(frozen=True)
class Keys:
    """What flags may name.

    Attributes:
        fields: the keys of a command.
        settings: further keys, which go into the command's mapping `settings`.
        positional: the key that bare words fill, if one does.
    """

    fields: Fields
    settings: Fields
    positional: str | None = None


def with_flags(words: Sequence[str], keys: Keys) -> list[str]:
    """Words of a command line in the shape --KEY VALUE.

    Raises:
        UserError: a bare word that no key takes.
    """
    flagged: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if word in ALONE:
            flagged.append(word)
        elif word.startswith("-"):
            flagged += _flag(word, rest, keys)
        else:
            flagged += _positional(word, keys, flagged)
    return flagged


def _flag(word: str, rest: deque[str], keys: Keys) -> list[str]:
    """A flag under its key's name, with the words of its value, which are taken from `rest`."""
    flag, equals, value = word.partition("=")
    key, dot, name = flag.removeprefix("--").partition(".")
    key = key.replace("-", "_")
    field = keys.fields.get(key) or keys.settings.get(key)
    if key in keys.settings and key not in keys.fields:
        key = f"settings.{key}"
    if f"{key}_{name}" in keys.fields:
        key, dot, name = f"{key}_{name}", "", ""
    # Parsers keep only the last of several keys in an inner mapping.
    flag = f"--{key}{dot}{name.replace('.', '/')}"
    if equals:
        return [f"{flag}={value}"]
    types = _alternatives(field.type) if field else ()
    if bool in types and (not rest or rest[0].lower() not in BOOLEANS):
        return [flag, "true"]
    if str not in types and any(get_origin(each) is list for each in types):
        return [flag, _list(rest)]
    return [flag, rest.popleft()] if rest else [flag]


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def _list(rest: deque[str]) -> str:
    """The words up to the next flag as one list; a word that is a list already stays as it is."""
    words: list[str] = []
    while rest and not rest[0].startswith("--"):
        words.append(rest.popleft())
    if len(words) == 1 and words[0].startswith("["):
        return words[0]
    return json.dumps([int(word) if word.isdecimal() else word for word in words])


def _positional(word: str, keys: Keys, so_far: Sequence[str]) -> list[str]:
    """A bare word under the flag of the command's positional key."""
    key = keys.positional
    if key is None:
        raise UserError(f"unexpected {word!r}: give every value with its flag")
    if keys.fields[key].type is not str:
        return [f"--{key}+", word]
    if f"--{key}" in so_far:
        raise UserError(f"unexpected {word!r}: give every further value with its flag")
    return [f"--{key}", word]


def explain_mismatch(message: str, fields: Fields) -> str:
    """A parser's message in one line: what a key must be, or for an unknown one the valid ones."""
    wrong = re.search(r'Parser key "(\w+)".*(?:Got|Given) value: (.*)', message, re.DOTALL)
    if wrong and wrong[1] in fields:
        return f"{wrong[1]} must be {_in_words(fields[wrong[1]].type)}; it is {wrong[2]}"
    if "not accepted" in message or "unrecognized" in message:
        message += f"; the keys are {', '.join(fields)}"
    return message


TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


def _in_words(annotation: Any) -> str:
    """What a key's annotation allows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is not None and origin not in TYPES:
        return " or ".join(map(_in_words, arguments))
    return TYPES[origin or annotation]
