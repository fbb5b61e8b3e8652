"""Data by specification: files, saved data sets, the Hugging Face hub and named sources.

A specification is one string, `WHERE[:PART][?key=value&key=value]`:

- WHERE is a JSONL or Parquet file, a folder saved by `datasets`, the name of a source, or the
  hub's `organisation/name`; an existing path wins over the others.
- PART is a split or a part of a source.
- Options of all: `limit=N`, the first N rows; `sample=N` with `seed=S`, a random sample in the
  order of the data. A named source adds its own; a `seed` of its own also serves the sample.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from rewardgap.configs.compute import Identical
from rewardgap.data.parsing import TakenIds, collect
from rewardgap.data.readers import HUB_NAME, hash_path, hub_fingerprint, read_place
from rewardgap.data.records import Record, Rows
from rewardgap.data.sources import (
    SOURCES,
)
from rewardgap.data.spec import Source, Spec, option_types, parse_spec, read_options
from rewardgap.errors import UserError

SELECTION: Mapping[str, Any] = {"limit": int, "sample": int, "seed": int}


def load(spec: str | Sequence[str], identical: Identical = "refuse") -> list[Record]:
    """Load the records of one specification, or of several, one after the other.

    Args:
        spec: As the head of this module says.
        identical: "refuse" raises on a response that is both chosen and rejected, "drop" leaves
            such records out and logs their number.

    Returns:
        At least one record; the ids are unique, and those of the same data always the same.

    Raises:
        UserError: A specification, or a row of the data, is wrong.
    """
    return list(stream(spec, identical))


def stream(spec: str | Sequence[str], identical: Identical = "refuse") -> Iterator[Record]:
    """The records that `load` gives, one by one, so that memory does not grow with their number.

    A `sample` is drawn from all records at once, and a source may have to do the same.
    """
    taken = TakenIds()
    for one in _parse(spec):
        rows, options = _read(one)
        records = collect(rows, identical, taken)
        first = next(records, None)
        if first is None:
            raise UserError(f"{one.text}: holds no records")
        whole = chain([first], records)
        if "sample" in options:
            yield from _sample(list(whole), options["sample"], options.get("seed", 0), one)
        else:
            yield from whole


def named_source(spec: Spec) -> Source | None:
    """The source that a specification names; None where it names a path or the hub."""
    return None if os.path.exists(spec.where) else SOURCES.get(spec.where)


def read_rows(spec: str) -> Rows:
    """The rows of one specification as they are, each with the place that errors name.

    Raises:
        UserError: The specification, or the format of the data, is wrong.
    """
    return _read(parse_spec(spec))[0]


def added_tokens(spec: str | Sequence[str]) -> tuple[str, ...]:
    """Tokens that the named sources among these data write and that no tokenizer has."""
    named = filter(None, map(named_source, _parse(spec)))
    return tuple(dict.fromkeys(token for source in named for token in source.added_tokens))


def data_fingerprint(spec: str | Sequence[str], notes: Path | None = None) -> str:
    """Hash what determines the records: the specifications, and the data that they name.

    Local data are hashed file by file, and a data set of the hub is known by the fingerprint that
    `datasets` gives it. What other sources yield, and data that are chosen by a file (such as a
    tokenizer), is hashed row by row.

    Args:
        spec: As `load` takes it.
        notes: A folder of notes on local files, of which unchanged ones are not read again.

    Raises:
        UserError: A specification is wrong, or its data cannot be read.
    """
    digest = hashlib.sha256()
    for one in _parse(spec):
        options = {key: value for key, value in one.options.items() if key != "path"}
        digest.update(repr([Path(one.where).suffix, one.part, sorted(options.items())]).encode())
        digest.update(_fingerprint_data(one, notes).encode())
    return digest.hexdigest()


def _fingerprint_data(spec: Spec, notes: Path | None) -> str:
    path = spec.options.get("path", "")
    others = [value for key, value in spec.options.items() if key != "path"]
    if os.path.exists(spec.where):
        return hash_path(spec.where, notes)
    if os.path.exists(path) and not any(map(os.path.exists, others)):
        return spec.where + hash_path(path, notes)
    if named_source(spec) is None and HUB_NAME.fullmatch(spec.where):
        return hub_fingerprint(spec.where, spec.part or "train")
    digest = hashlib.sha256()
    for _, row in _read(spec)[0]:
        digest.update(json.dumps(row, default=str).encode())
    return spec.where + digest.hexdigest()


def _parse(spec: str | Sequence[str]) -> list[Spec]:
    specs = [spec] if isinstance(spec, str) else spec
    if not specs:
        raise UserError("an empty list names no data: give a file, a data set or a source")
    return [parse_spec(text) for text in specs]


def _read(spec: Spec) -> tuple[Rows, Mapping[str, Any]]:
    """The rows of a specification before any sample is drawn, and all options."""
    source = named_source(spec)
    own = option_types(source.rows) if source else {}
    options = read_options(spec, {**SELECTION, **own})
    if "seed" in options and "seed" not in own and "sample" not in options:
        raise UserError(f"{spec.text}: `seed` does nothing without `sample`: add `sample=N`")
    own_options = {name: value for name, value in options.items() if name in own}
    rows = _source_rows(source, spec, own_options) if source else _place_rows(spec)
    return islice(rows, options.get("limit")), options


def _source_rows(source: Source, spec: Spec, options: Mapping[str, Any]) -> Rows:
    if spec.part not in source.parts:
        raise UserError(
            f"{spec.text}: name a part as {spec.where}:PART: valid are {', '.join(source.parts)}"
        )
    return source.rows(spec.part, **options)


def _place_rows(spec: Spec) -> Rows:
    named = f", nor a named source (valid are {', '.join(SOURCES)})"
    return read_place(spec.where, spec.part, named)


def _sample(records: list[Record], size: int, seed: int, spec: Spec) -> list[Record]:
    if not 0 < size <= len(records):
        raise UserError(f"{spec.text}: `sample` must be between 1 and the {len(records)} records")
    chosen = np.random.default_rng(seed).choice(len(records), size, replace=False)
    return [records[index] for index in np.sort(chosen)]
