"""Readers of rows: files, saved data sets and data sets of the Hugging Face hub.

Every reader yields each row with its location for error messages, and keeps no row; only a JSON
array has to be read whole. It raises a `UserError` if the data cannot be opened, are not in the
format, or have no such part. Heavy libraries are imported where they are used.
"""

import bz2
import csv
import gzip
import hashlib
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from io import BufferedReader, TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from rewardgap.data.records import RefusedRow, Row, Rows
from rewardgap.data.spec import parse_spec
from rewardgap.errors import UserError, reported
from rewardgap.io.cache import cache_key, cached_for_file
from rewardgap.io.hub import hub_fault

MOST_FILES = 10_000
"""In a folder of data; a folder of more is somebody's home and not a data set."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def read_path(path: str, part: str | None) -> Rows:
    """Read a saved data set or a hub repository if the path is a folder, else a file."""
    if Path(path).is_dir():
        return read_directory(path, part)
    ending = _ending(path)
    if ending not in FORMATS:
        raise UserError(f"{path}: unknown format {ending!r}: valid are {', '.join(FORMATS)}")
    if part is not None:
        raise UserError(f"{path}: a file has no part {part!r}: leave `:{part}` out")
    return FORMATS[ending](path)


def _ending(path: str) -> str:
    """Return the ending of a file's format, without that of a compression."""
    name = Path(path.lower())
    return (name.with_suffix("") if name.suffix in COMPRESSIONS else name).suffix


def matching_files(pattern: str) -> list[str]:
    """Return the files that match a pattern with `*`, in order; none for other names."""
    return sorted(glob(pattern, recursive=True)) if "*" in pattern else []


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, uncompressed."""
    import pyarrow

    compression = COMPRESSIONS.get(Path(path).suffix.lower())
    damaged = (OSError, EOFError, zlib.error, lzma.LZMAError, pyarrow.ArrowException)
    after = ": is it whole?" if compression else ""
    with (
        reported(damaged, f"{path}: cannot be read: ", after),
        (compression or _open)(path) as file,
    ):
        yield file


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


def _open_zstandard(path: str) -> BinaryIO:
    import pyarrow

    return cast(BinaryIO, BufferedReader(pyarrow.CompressedInputStream(path, "zstd")))


COMPRESSIONS: Mapping[str, Callable[[str], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstandard,
}


def read_jsonl(path: str) -> Rows:
    """Read one JSON object per line; blank lines are skipped, and a broken one is a refused row."""
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                location = f"{path}, line {number}"
                yield location, _row_or_refused(line, location)


def whole_rows(rows: Rows) -> Rows:
    """Yield rows; raise what a refused one is refused for."""
    for location, row in rows:
        if isinstance(row, RefusedRow):
            raise UserError(f"{location}: {row.reason}")
        yield location, row


def read_json(path: str) -> Rows:
    """Read a JSON file: an array of objects, or one object per line."""
    with opened(path) as file:
        is_array = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if not is_array:
        yield from read_jsonl(path)
        return
    remedy = "): write an array of objects, or one object on each line"
    with opened(path) as file:
        content = file.read()
    with reported((ValueError, RecursionError), f"{path}: broken JSON (", remedy):
        values = json.loads(content.decode("utf-8-sig"))
    for location, value in numbered(path, values):
        yield location, _as_object(value, location)


def read_csv(path: str) -> Rows:
    """Read a table with a header, separated by commas, or by tabs in a .tsv file.

    Cells are texts; one that holds messages as JSON becomes their list.
    """
    delimiter = "\t" if _ending(path) == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)
    with opened(path) as file:
        text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        table = csv.DictReader(text, delimiter=delimiter, strict=True)
        try:
            header = table.fieldnames or []
            if len(set(header)) < len(header):
                raise UserError(f"{path}: two columns have the same name: rename one")
            for location, row in numbered(path, table):
                yield location, _cells(row, location)
        except csv.Error as error:
            raise UserError(f"{path}, line {table.line_num}: broken CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 ({error.reason}): save it as UTF-8") from error


def _cells(row: Mapping[Any, Any], location: str) -> Row:
    if None in row or None in row.values():
        count = "more" if None in row else "fewer"
        raise UserError(f"{location}: {count} cells than columns: quote cells with line breaks")
    return {key: _cell(value, f"{location}: `{key}`") for key, value in row.items()}


def _cell(value: str, name: str) -> Any:
    if re.match(r"\s*\[\{'(role|content|from|value)'", value):
        raise UserError(f"{name} is a list in Python's words: write lists as JSON")
    if re.match(r'\s*\[\{\s*"(role|content|from|value)"', value):
        with reported((ValueError, RecursionError), f"{name} is broken JSON (", "): correct it"):
            return json.loads(value)
    return value


def read_parquet(path: str) -> Rows:
    """Read a Parquet file batch by batch."""
    import pyarrow
    from pyarrow import parquet

    broken = reported((OSError, pyarrow.ArrowException), f"{path}: not a readable Parquet file: ")
    with broken, parquet.ParquetFile(path) as file:
        batches = (batch.to_pylist() for batch in file.iter_batches())
        yield from numbered(path, chain.from_iterable(batches))


def read_saved(path: str, part: str | None) -> Rows:
    """Read a data set that `datasets` saved to a folder."""
    import datasets

    # A damaged folder raises Arrow's, JSON's and the system's errors.
    with reported(Exception, f"{path}: not a saved data set: "):
        saved = datasets.load_from_disk(path)
    if isinstance(saved, datasets.DatasetDict):
        if part not in saved:
            raise UserError(
                f"{path}: name one of its splits as {path}:SPLIT: valid are {', '.join(saved)}"
            )
        return numbered(f"{path}:{part}", saved[part])
    if part is not None:
        raise UserError(f"{path}: has no splits: leave `:{part}` out")
    return numbered(path, saved)


def read_directory(path: str, part: str | None) -> Rows:
    """Read a folder saved by `datasets`, or a downloaded repository of the hub with one config."""
    if any((Path(path) / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return read_saved(path, part)
    import datasets

    if next(islice(Path(path).rglob("*"), MOST_FILES, None), None):
        raise UserError(f"{path}: holds more than {MOST_FILES} files: name the data in it")
    # The builder of a format raises its own errors, Arrow's and the system's.
    with reported(Exception, f"{path}: not a saved data set, nor a downloaded hub repository: "):
        splits = datasets.load_dataset(path)
    if part is None and len(splits) == 1:
        part = next(iter(splits))
    if part not in splits:
        valid = ", ".join(splits)
        raise UserError(f"{path}: name one of its splits as {path}:SPLIT: valid are {valid}")
    return numbered(f"{path}:{part}", splits[part])


def read_folder(path: str, split: str) -> Rows:
    """Read one split of a local copy of a data set that has splits on the hub.

    The path is a folder saved by `datasets`, of all splits or of this one only, or a downloaded
    repository of the hub.
    """
    is_one_split = (Path(path) / "state.json").is_file()
    return read_saved(path, None) if is_one_split else read_directory(path, split)


def read_hub(name: str, split: str, **arguments: str) -> Rows:
    """Read a split of the data set "organisation/name" of the Hugging Face hub, or of its cache."""
    return numbered(f"{name}:{split}", load_hub(name, split, **arguments))


def load_hub(name: str, split: str, **arguments: str) -> Any:
    """Return a split as `datasets.load_dataset` loads it, from its cache if there is no network."""
    import datasets

    failed, fault = "cannot be loaded from the Hugging Face hub", hub_fault()
    if fault:
        failed = f"the Hugging Face hub cannot be reached ({fault})"
    configured, datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE, fault is not None
    try:
        # The hub's client raises its own, httpx's and the system's errors.
        with reported(Exception, f"{name}:{split}: no such path here, and {failed}: "):
            return datasets.load_dataset(name, split=split, **arguments)
    finally:
        datasets.config.HF_HUB_OFFLINE = configured


def read_path_or_hub(name: str, part: str | None, sources: str = "") -> Rows:
    """Read a path that exists, or else "organisation/name" of the hub, by default its "train"."""
    refuse_absent(name, sources)
    if os.path.exists(name):
        return read_path(name, part)
    if files := matching_files(name):
        return chain.from_iterable(read_path(file, part) for file in files)
    return read_hub(name, part or "train")


def refuse_absent(name: str, sources: str = "") -> None:
    """Refuse what is neither a path, nor a pattern that a file matches, nor a name on the hub."""
    if os.path.exists(name) or matching_files(name):
        return
    if "*" in name:
        raise UserError(f"{name}: no file matches")
    if _ending(name) in FORMATS:
        raise UserError(f"{name}: no such file")
    if not HUB_NAME.fullmatch(name):
        message = "neither an existing path, nor organisation/name on the Hugging Face hub"
        raise UserError(f"{name}: {message}{sources}")


def read_copy(path: str | None, name: str, split: str, **arguments: str) -> Rows:
    """Read a split of a data set of the hub, or a local copy with the same columns.

    The path is a file, which is the split itself; or a folder as for `read_folder`; or None for
    `read_hub` with the other arguments.
    """
    if path is None:
        with reported(UserError, "", ": name a local copy as `path=FILE_OR_FOLDER`"):
            return read_hub(name, split, **arguments)
    if not os.path.exists(path):
        raise UserError(f"{path}: no such file or folder")
    return read_folder(path, split) if Path(path).is_dir() else whole_rows(read_path(path, None))


def read_given(path: str | None, example: str) -> Rows:
    """Read the rows of a source that has no data, only a layout, from `NAME[:PART]`."""
    if path is None:
        raise UserError(f"{example} reads your own data: name them as {example}?path=FILE")
    spec = parse_spec(path)
    if spec.options:
        raise UserError(f"{example}?path={path}: a second `?`: join options by `&`")
    return whole_rows(read_path_or_hub(spec.name, spec.part))


def hash_path(path: str, cache: Path | None = None) -> str:
    """Return the SHA-256 of a file's content, or of the names and contents of a folder's files.

    With a folder of cached hashes, unchanged files are not read again.
    """
    digest = hashlib.sha256()
    with reported(OSError, f"{path}: cannot be read: "):
        for file in sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]:
            if not file.is_file():
                continue
            digest.update(str(file.relative_to(path)).encode())
            if cache is None:
                content = _sha256(file)
            else:
                entry = cache / f"{cache_key(str(file.resolve()))}.json"
                content = cached_for_file(file, entry, _sha256)
            digest.update(content.encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def numbered(name: str, rows: Iterable[Row]) -> Rows:
    """Yield ("name, row N", row), counting from 1."""
    for number, row in enumerate(rows, start=1):
        yield f"{name}, row {number}", row


FORMATS: Mapping[str, Callable[[str], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
}


def _row_or_refused(line: bytes, location: str) -> Row:
    try:
        return _read_object(line, location)
    except UserError as error:
        return RefusedRow(str(error).removeprefix(f"{location}: "))


def _read_object(line: bytes, location: str) -> Row:
    try:
        text = line.decode("utf-8-sig")  # some editors write a byte-order mark
    except UnicodeDecodeError as error:
        message = f"{location}: not UTF-8 (byte {error.start + 1}): save it as UTF-8"
        raise UserError(message) from error
    broken, remedy = f"{location}: broken JSON (", "): write one object on each line"
    with reported((ValueError, RecursionError), broken, remedy):
        return _as_object(json.loads(text), location)


def _as_object(value: Any, location: str) -> Row:
    if not isinstance(value, dict):
        name = type(value).__name__
        raise UserError(f"{location}: a {name}, not an object: write one object on each line")
    return value
