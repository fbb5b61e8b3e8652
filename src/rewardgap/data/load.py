"""Records by specification: files, saved data sets, the Hugging Face hub and named sources.

A specification is one string, `NAME[:PART][?key=value&key=value]`:

- NAME is a file, a pattern of files such as `data/*.parquet`, a folder saved by `datasets`, a
  downloaded repository of the hub, the name of a source, or `organisation/name` on the hub; an
  existing path wins.
- PART is a split or a part of a source.
- Options of all data: `limit=N`, the first N rows; `sample=N` with `seed=S`, a random sample in the
  order of the data. A named source adds its options; if it has a `seed`, that is the sample's too.
  Other data have `layout=NAME`, how to read rows that could be read in two ways.
- `shift=NAME`, with `rate=R`, `side=SIDE` and the same `seed`: the records in other words.

A wrong specification or row raises a `UserError`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from rewardgap.configs.compute import Identical
from rewardgap.data.dropped import Dropped
from rewardgap.data.layouts.recognition import in_one_layout, labelled
from rewardgap.data.parsing import TakenIds, collect
from rewardgap.data.readers import (
    HUB_NAME,
    hash_path,
    load_hub,
    matching_files,
    read_path_or_hub,
    refuse_absent,
)
from rewardgap.data.records import Record, Rows
from rewardgap.data.shifting import Shifting, shift_records, shift_rows, shifting
from rewardgap.data.sources import SOURCES
from rewardgap.data.spec import Source, Spec, option_types, parse_spec, read_options
from rewardgap.errors import UserError, reported

SELECTION: Mapping[str, Any] = {"limit": int, "sample": int, "seed": int}
READING: Mapping[str, Any] = {"layout": str}
SHIFTED: Mapping[str, Any] = {"shift": str, "rate": float, "side": str}


def load(
    spec: str | Sequence[str],
    identical: Identical = "refuse",
    bad: Dropped | None = None,
    *,
    unlabelled: bool = False,
) -> list[Record]:
    """Load the records of one specification, or of several, one after the other.

    Args:
        spec: One specification, or a list of them.
        identical: "refuse" raises on a response that is both chosen and rejected, "drop" leaves
            such records out and logs their number.
        bad: A list for rows that cannot be used, to which they are added; without it they are
            refused.
        unlabelled: Also read rows of `response` or `responses`; their records have no rejected
            response.

    Returns:
        At least one record; the ids are unique, and those of the same data always the same.
    """
    return list(stream(spec, identical, bad, unlabelled=unlabelled))


def stream(
    spec: str | Sequence[str],
    identical: Identical = "refuse",
    bad: Dropped | None = None,
    *,
    unlabelled: bool = False,
) -> Iterator[Record]:
    """Yield the records that `load` returns, so that memory does not grow with their number.

    A `sample` is drawn from all records at once, and a source may have to read all of its rows.
    """
    taken = TakenIds()
    for parsed in _parse(spec):
        rows, options = _read(parsed)
        records = collect(rows if unlabelled else labelled(rows), identical, taken, bad)
        first = list(islice(records, 1))
        if not first:
            reason = f" that can be used; the first: {bad[0].reason}" if bad else ""
            raise UserError(f"{parsed.text}: holds no records{reason}")
        records = chain(first, records)
        if "sample" in options:
            records = _sampled(list(records), options, parsed)
        plan = _shifting(parsed, options)
        yield from shift_records(records, plan, parsed.text) if plan else records


def _sampled(usable: Sequence[Record], options: Mapping[str, Any], spec: Spec) -> Iterator[Record]:
    for row, index in enumerate(_draw(len(usable), options, spec)):
        yield replace(usable[index], row=row)


def _shifting(spec: Spec, options: Mapping[str, Any]) -> Shifting | None:
    """Return the shift of the options, if there is one."""
    settings = {key: options[key] for key in SHIFTED if key in options}
    if "shift" not in settings:
        if settings:
            key = next(iter(settings))
            raise UserError(f"{spec.text}: `{key}` does nothing without `shift`: add `shift=NAME`")
        return None
    with reported(UserError, f"{spec.text}: "):
        return shifting(settings.pop("shift"), seed=options.get("seed", 0), **settings)


def _draw(count: int, options: Mapping[str, Any], spec: Spec) -> list[int]:
    """Return the indices of a sample of so many records, in order."""
    size = options["sample"]
    if not 0 < size <= count:
        raise UserError(f"{spec.text}: `sample` must be between 1 and the {count} records")
    chosen = np.random.default_rng(options.get("seed", 0)).choice(count, size, replace=False)
    return sorted(map(int, chosen))


def rows_not_sampled(spec: str) -> set[int]:
    """Return the numbers of the usable rows of one specification that its `sample` leaves out."""
    parsed = parse_spec(spec)
    rows, options = _read(parsed)
    if "sample" not in options:
        return set()
    usable = [record.row for record in collect(labelled(rows), "drop", TakenIds(), [])]
    sampled = {usable[index] for index in _draw(len(usable), options, parsed)}
    return {row for row in usable if row is not None and row not in sampled}


def named_source(spec: Spec) -> Source | None:
    """Return the source that a specification names; None if it names a path or the hub."""
    return None if os.path.exists(spec.name) else SOURCES.get(spec.name)


def read_rows(spec: str) -> Rows:
    """Return the unparsed rows of one specification, each with its location for errors.

    A shift is applied to rows that are records.
    """
    parsed = parse_spec(spec)
    rows, options = _read(parsed)
    plan = _shifting(parsed, options)
    return shift_rows(rows, plan) if plan else rows


def added_tokens(spec: str | Sequence[str]) -> tuple[str, ...]:
    """Return the strings of named sources that should be single tokens of a tokenizer."""
    sources = filter(None, map(named_source, _parse(spec)))
    return tuple(dict.fromkeys(token for source in sources for token in source.added_tokens))


def data_fingerprint(spec: str | Sequence[str], cache: Path | None = None) -> str:
    """Hash everything that determines the records: the specifications and the data they name.

    Local data are hashed file by file; a data set of the hub is identified by the fingerprint of
    `datasets`. Rows of other sources, and of data that depend on a file (such as a tokenizer), are
    hashed one by one. With a folder of cached hashes, unchanged files are not read again.
    """
    digest = hashlib.sha256()
    for parsed in _parse(spec):
        options = {key: value for key, value in parsed.options.items() if key != "path"}
        suffix = Path(parsed.name).suffix
        digest.update(repr([suffix, parsed.part, sorted(options.items())]).encode())
        digest.update(_content_fingerprint(parsed, options, cache).encode())
    return digest.hexdigest()


def _content_fingerprint(spec: Spec, options: Mapping[str, str], cache: Path | None) -> str:
    """Hash the data of a specification; `options` are all but `path`."""
    path = spec.options.get("path", "")
    if os.path.exists(spec.name):
        return hash_path(spec.name, cache)
    if files := matching_files(spec.name):
        return "".join(hash_path(file, cache) for file in files)
    if os.path.exists(path) and not any(map(os.path.exists, options.values())):
        return spec.name + hash_path(path, cache)
    if named_source(spec) is None and HUB_NAME.fullmatch(spec.name):
        return str(load_hub(spec.name, spec.part or "train")._fingerprint)
    digest = hashlib.sha256()
    for _, row in _read(spec)[0]:
        digest.update(json.dumps(row, default=str).encode())
    return spec.name + digest.hexdigest()


def _parse(spec: str | Sequence[str]) -> list[Spec]:
    specs = [spec] if isinstance(spec, str) else spec
    if not specs:
        raise UserError("an empty list names no data: give a file, a data set or a source")
    return [parse_spec(text) for text in specs]


def refuse_wrong(spec: str | Sequence[str]) -> None:
    """Refuse what no data can be read from, before anything is read; the hub is not asked.

    Raises:
        UserError: A file is not there, or a part or an option is none of the source's.
    """
    for parsed in _parse(spec):
        _check(parsed)


def _check(spec: Spec) -> tuple[Source | None, Mapping[str, Any]]:
    """Return the source that a specification names, and all options."""
    source = named_source(spec)
    types = option_types(source.rows) if source else READING
    options = read_options(spec, {**SELECTION, **SHIFTED, **types})
    plan = _shifting(spec, options)
    if "seed" in options and "seed" not in types and "sample" not in options and plan is None:
        raise UserError(f"{spec.text}: `seed` does nothing without `sample`: add `sample=N`")
    if source is None:
        refuse_absent(spec.name, f", nor a named source (valid are {', '.join(SOURCES)})")
    elif spec.part not in source.parts:
        parts = ", ".join(source.parts)
        raise UserError(f"{spec.text}: name a part as {spec.name}:PART: valid are {parts}")
    return source, options


def _read(spec: Spec) -> tuple[Rows, Mapping[str, Any]]:
    """Return the rows of a specification before any sample is drawn, and all options."""
    source, options = _check(spec)
    if source is None:
        rows = in_one_layout(read_path_or_hub(spec.name, spec.part), options.get("layout"))
    else:
        assert spec.part is not None, "it is one of the source's parts"
        keys = option_types(source.rows).keys() & options.keys()
        rows = source.rows(spec.part, **{key: options[key] for key in keys})
    return islice(rows, options.get("limit")), options
