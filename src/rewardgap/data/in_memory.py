"""Rows in memory as data of a command: written to the cache once, under a name with their hash.

Everything that a command does with a file it can then do with them: a run that is resumed compares
them, and an explanation reads them again.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from rewardgap.configs.keywords import configure, describe, signature
from rewardgap.errors import UserError, reported
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import whole_file

DATA = ("train", "eval", "data", "counterpart_data", "text")
"""The keys whose values are data."""

Config = TypeVar("Config", contravariant=True)
Result = TypeVar("Result", covariant=True)


class CommandFunction(Protocol[Config, Result]):
    """A command: called with its configuration, or with the keys of that as keywords."""

    @overload
    def __call__(self, config: Config, /, *further: Any) -> Result: ...
    @overload
    def __call__(self, /, **keywords: Any) -> Result: ...


def by_keywords(
    form: type[Config],
) -> Callable[[Callable[..., Result]], CommandFunction[Config, Result]]:
    """Let a command be called with the keys of its configuration, where data may be in memory.

    Data are what the command line takes, paths, lists of mappings, data sets of `datasets`, or data
    frames of pandas. The signature and the docstring list the keywords.
    """

    def decorate(function: Callable[..., Result]) -> CommandFunction[Config, Result]:
        name = function.__name__

        @wraps(function)
        def command(config: Any = None, /, *further: Any, **keywords: Any) -> Result:
            if config is None:
                config = configure(form, _on_disk(keywords), name)
            elif keywords or not isinstance(config, form):
                class_name = form.__name__
                raise UserError(f"rewardgap.{name} takes keywords, or a {class_name} alone")
            return function(config, *further)

        meanings = describe(form, f"Keywords, or a {form.__name__} of them:")
        command.__doc__ = f"{cleandoc(function.__doc__ or '')}\n\n{meanings}"
        command.__signature__ = signature(form)  # pyrefly: ignore[missing-attribute]
        return command

    return decorate


def _on_disk(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords as a configuration has them: plain values, and data as specifications."""
    values = {name: plain(value) for name, value in keywords.items()}
    cache = cache_folder(values.get("cache"))
    for name in DATA:
        if name in values:
            values[name] = _specified(values[name], name, cache)
    return values


def plain(value: Any) -> Any:
    """Return paths as text, NumPy's numbers as Python's, tuples and mappings as lists and dicts."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def _specified(value: Any, key: str, cache: Path) -> Any:
    """Return data with specifications in place of rows, which are written to the cache."""
    if isinstance(value, dict) and not key.startswith("eval"):
        raise UserError(f"{key} is a mapping of {', '.join(map(str, value))}: name one of these")
    if isinstance(value, dict):
        return {name: _specified(data, f"{key}.{name}", cache) for name, data in value.items()}
    if _is_of(value, "pandas", "DataFrame"):
        return write_rows(_rows_of_frame(value), key, cache)
    if _is_of(value, "datasets", "Dataset") or _is_of(value, "datasets", "IterableDataset"):
        return write_rows((json.dumps(plain(row)) for row in value), key, cache)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return write_rows(_lines(value, key), key, cache)
    if isinstance(value, list):
        return [_specified(item, f"{key}[{index}]", cache) for index, item in enumerate(value)]
    return value


def _is_of(value: Any, package: str, name: str) -> bool:
    """Return whether a value is of a class of a package, which is not imported for it."""
    return package in sys.modules and isinstance(value, getattr(sys.modules[package], name))


def _rows_of_frame(frame: Any) -> Iterator[str]:
    """Yield the rows of a data frame as JSON; missing values are null."""
    text = frame.to_json(orient="records", lines=True, double_precision=15)
    yield from filter(None, text.split("\n"))


def _lines(rows: Iterable[Any], key: str) -> Iterator[str]:
    for number, row in enumerate(rows, 1):
        with reported((TypeError, ValueError), f"{key}, row {number}: cannot be JSON: "):
            yield json.dumps(row)


def write_rows(lines: Iterable[str], key: str, cache: Path) -> str:
    """Write rows of JSON to the cache, unless they are there; return the file.

    Raises:
        UserError: There are no rows, or the file cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    if not text:
        raise UserError(f"{key} has no rows")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = cache / "rows" / f"{text.count(chr(10))}-rows-in-memory-{digest}.jsonl"
    if not path.exists():
        with whole_file(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return str(path)
