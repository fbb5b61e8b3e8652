"""The command line as flags that a parser of typed keys takes, and the parser's errors in words.

A dash in a flag stands for an underscore of its key, a boolean flag without a value is true, and a
list takes all words up to the next flag, and the values of a flag that is given again. Words
without a flag go to the command's positional key. A dot in a flag goes into a mapping, or joins the
words of a key; a further dot becomes a slash.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass
from difflib import get_close_matches
from itertools import chain
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from rewardgap.errors import UserError, reported

UNCHANGED = ("--print_config",)
BOOLEANS = ("true", "false")
DIGITS = 100
"""Longer numbers are no one's setting, and Python refuses to convert the longest."""

REMOVED_KEYS: Mapping[str, Mapping[str, str]] = {
    "ches": {"cache": "leave it out, nothing is cached"},
    "explain": {"twin": "use counterpart", "twin_data": "use counterpart_data"},
    "forecast": {
        "level": "leave it out, every forecast is made in the last layer",
        "exact": "leave it out, raise memory to keep larger gradients whole",
    },
    "score": {"likelihood_weight": "leave it out, it belongs to the loss and changes no reward"},
}
"""By command, keys of earlier versions and what to do instead."""

Fields = Mapping[str, Field[Any]]


@dataclass(frozen=True)
class Keys:
    """The keys of a command, further keys for its mapping `settings`, and those of loose words."""

    fields: Fields
    settings: Fields
    positional: str | None = None


def with_flags(words: Sequence[str], keys: Keys) -> list[str]:
    """Rewrite a command line so that every value follows its flag, --KEY VALUE.

    Raises:
        UserError: No key takes a word without a flag.
    """
    flagged: list[list[str]] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        word = word.replace("--print-config", "--print_config")
        if word in UNCHANGED:
            flagged.append([word])
        elif word.startswith("-"):
            _add(_flag(word, rest, keys), flagged, keys)
        else:
            flagged.append(_positional(word, keys, flagged))
    return list(chain.from_iterable(flagged))


def _add(words: list[str], flagged: list[list[str]], keys: Keys) -> None:
    """Add a flag and its value, to the values that the flag has if its key takes several."""
    flag, value = _parted(words)
    earlier = next((given for given in flagged if _parted(given)[0] == flag), None)
    if earlier is None or flag == "--config" or flag.endswith("+"):
        flagged.append(words)
        return
    field = keys.fields.get(flag.removeprefix("--"))
    if field is None or all(get_origin(type_) is not list for type_ in alternatives(field.type)):
        values = f"{_parted(earlier)[1]!r} and {value!r}"
        raise UserError(f"{flag} is given twice, as {values}: give it once")
    earlier[:] = [flag, json.dumps([*_values(_parted(earlier)[1]), *_values(value)])]


def _parted(words: Sequence[str]) -> tuple[str, str]:
    """Return a flag and its value."""
    flag, equals, value = words[0].partition("=")
    return flag, value if equals else "".join(words[1:])


def _values(text: str) -> list[Any]:
    """Return the items of a list "[…]", or the text itself as one."""
    if not text.startswith("["):
        return [_item(text)]
    with reported(yaml.YAMLError, f"{text}: not a list: "):
        values = yaml.safe_load(text)
    return values if isinstance(values, list) else [text]


def _flag(word: str, rest: deque[str], keys: Keys) -> list[str]:
    """Return a flag under its key's name and its value, whose words are taken from `rest`."""
    flag, equals, value = word.partition("=")
    key, dot, name = flag.removeprefix("--").partition(".")
    key = key.replace("-", "_")
    field = keys.fields.get(key) or keys.settings.get(key)
    if key in keys.settings and key not in keys.fields:
        key = f"settings.{key}"
    if f"{key}_{name}" in keys.fields:
        key, dot, name = f"{key}_{name}", "", ""
    # The parser would keep only the last of several dotted keys in an inner mapping.
    flag = f"--{key}{dot}{name.replace('.', '/')}"
    if equals:
        return [f"{flag}={value}"]
    types = alternatives(field.type) if field else ()
    if bool in types and (not rest or rest[0].lower() not in BOOLEANS):
        return [flag, "true"]
    if str not in types and any(get_origin(type_) is list for type_ in types):
        return [flag, _list(rest)]
    if rest and not rest[0].startswith("--"):
        return [flag, rest.popleft()]
    if field or key == "config":
        raise UserError(f"{word} is given without a value")
    return [flag]  # of no key: the parser says so


def shown_flag(key: str) -> str:
    """Return a key as it is shown on the command line."""
    return f"--{key.replace('_', '-')}"


def as_flags(message: str, keys: Iterable[str]) -> str:
    """Return a message in which a setting `key: value` of these keys is the flag to type."""
    names = "|".join(keys)
    return re.sub(
        rf"`({names}): (\S+)`",
        lambda setting: f"{shown_flag(setting[1])} {setting[2]}".removesuffix(" true"),
        message,
    )


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an annotation joins by `|`, or the only one."""
    is_union = get_origin(annotation) in (Union, UnionType)  # that of a Literal is the former
    return get_args(annotation) if is_union else (annotation,)


def _list(rest: deque[str]) -> str:
    """Return the words up to the next flag as a JSON list; a single word "[…]" stays as it is."""
    words: list[str] = []
    while rest and not rest[0].startswith("--"):
        words.append(rest.popleft())
    if len(words) == 1 and words[0].startswith("["):
        return words[0]
    return json.dumps(list(map(_item, words)))


def _item(word: str) -> int | str:
    """Return a whole number, or other text as it is."""
    return int(word) if word.isdecimal() and len(word) <= DIGITS else word


def _positional(word: str, keys: Keys, flagged: Sequence[Sequence[str]]) -> list[str]:
    """Return a word without a flag under the flag of the first positional key that takes it."""
    names = (keys.positional or "").split()
    if not names:
        raise UserError(f"unexpected {word!r}: give every value with its flag")
    given = {_parted(flag)[0] for flag in flagged}
    for name in names:
        if keys.fields[name].type is not str:
            return [f"--{name}+", word]
        if f"--{name}" not in given:
            return [f"--{name}", word]
    raise UserError(f"unexpected {word!r}: give every further value with its flag")


def refuse_nulls(values: Mapping[str, Any], fields: Fields) -> None:
    """Refuse a null for a key that has none, which a parser of YAML lets through."""
    for key, field in fields.items():
        if values.get(key) is None and type(None) not in alternatives(field.type):
            raise UserError(f"{key} must be {in_words(field.type)}; it is null")


def explain_mismatch(message: str, fields: Fields, command: str = "train") -> str:
    """Return a parser's error in one line.

    It says what a key must be, what replaces a key that the command had, which key may be meant, or
    the valid keys.
    """
    mismatch = re.search(r'Parser key "(\w+)".*(?:Got|Given) value: (.*)', message, re.DOTALL)
    if mismatch and mismatch[1] in fields:
        key, type_ = mismatch[1], fields[mismatch[1]].type
        if get_origin(type_) is dict:
            named = f"as {shown_flag(key)}.NAME {mismatch[2]}, or a mapping in YAML"
            return f"{key} must be given with a name: {named}"
        return f"{key} must be {in_words(type_)}; it is {mismatch[2]}"
    missing = re.search(r"arguments are required: (.*)", message)
    if missing:
        return f"required: {missing[1]}"
    unknown = re.search(r"unrecognized arguments: --(\w+)|Option '(\w+)' is not accepted", message)
    if unknown is None:
        return message
    key = unknown[1] or unknown[2]
    remedy = REMOVED_KEYS.get(command, {}).get(key)
    if remedy is not None:
        return f"{key} is no longer a key of rewardgap {command}: {remedy}"
    form = shown_flag if unknown[1] else str
    likely = [form(name) for name in similar(key, fields)]
    hint = f"did you mean {' or '.join(likely)}?" if likely else f"the keys are {', '.join(fields)}"
    return f"unknown key {form(key)}; {hint}"


def similar(word: str, names: Iterable[str]) -> list[str]:
    """Return the names that may be meant: misspelt, by their initials, or by one of their words."""
    names = list(names)
    initials = [name for name in names if "".join(part[0] for part in name.split("_")) == word]
    parts = [name for name in names if word in name.split("_") or name.startswith(word)]
    return (get_close_matches(word, names, 1, 0.75) or initials or parts)[:3]


TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


def in_words(annotation: Any) -> str:
    """Return what a key's annotation allows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is not None and origin not in TYPES:
        return " or ".join(map(in_words, arguments))
    return TYPES[origin or annotation]
