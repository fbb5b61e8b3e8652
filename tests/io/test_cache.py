"""Notes on files are believed as long as the files are what they were."""

import os
import time
from pathlib import Path

import pyarrow
import pytest

from rewardgap.data.load import data_fingerprint
from rewardgap.io import cache as notes
from rewardgap.io.cache import cached_for_file
from rewardgap.io.tables import is_intact, write_table

TICK = 0.02
"""seconds in which the clock of a file system moves on for certain"""


class Finder:
    """Reads files and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: Path) -> str:
        self.times += 1
        return path.read_text("utf-8")


@pytest.fixture
def settled(monkeypatch):
    """Files may be cached_for_file as soon as they are written."""
    monkeypatch.setattr(notes, "SETTLED", -1.0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old", "utf-8")
    return path


def test_an_unchanged_file_is_read_once(settled, file, tmp_path):
    find = Finder()
    assert [cached_for_file(file, tmp_path / "notes" / "a", find) for _ in range(3)] == ["old"] * 3
    assert find.times == 1


def test_a_young_file_is_read_each_time(file, tmp_path):
    find = Finder()
    assert [cached_for_file(file, tmp_path / "note", find) for _ in range(2)] == ["old"] * 2
    assert find.times == 2 and not (tmp_path / "note").exists()


def test_a_change_of_the_same_size_with_its_date_put_back_is_seen(settled, file, tmp_path):
    find = Finder()
    cached_for_file(file, tmp_path / "note", find)
    before = file.stat()
    time.sleep(TICK)
    file.write_text("new", "utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cached_for_file(file, tmp_path / "note", find) == "new"


def test_another_file_of_the_same_name_is_read(settled, file, tmp_path):
    find = Finder()
    cached_for_file(file, tmp_path / "note", find)
    (tmp_path / "other").write_text("new", "utf-8")
    (tmp_path / "other").replace(file)
    assert cached_for_file(file, tmp_path / "note", find) == "new"


def test_a_file_that_changes_while_it_is_read_is_not_noted(settled, file, tmp_path):
    def find(path: Path) -> str:
        path.write_text("longer", "utf-8")
        return "old"

    assert cached_for_file(file, tmp_path / "note", find) == "old"
    assert cached_for_file(file, tmp_path / "note", Finder()) == "longer"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stamp": 0}', "{", "[" * 9999])
def test_a_broken_note_is_written_again(settled, file, tmp_path, content):
    find, note = Finder(), tmp_path / "note"
    cached_for_file(file, note, find)
    note.write_text(content, "utf-8")
    assert [cached_for_file(file, note, find) for _ in range(2)] == ["old"] * 2
    assert find.times == 2


def test_where_no_note_can_be_written_there_is_none(settled, file):
    assert cached_for_file(file, file / "note", Finder()) == "old"


def test_data_are_known_by_their_content_with_and_without_notes(settled, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', "utf-8")
    first = data_fingerprint(str(data))
    assert [data_fingerprint(str(data), tmp_path / "notes") for _ in range(2)] == [first] * 2
    time.sleep(TICK)
    data.write_text('{"prompt": "a", "chosen": "c", "rejected": "b"}\n', "utf-8")
    assert data_fingerprint(str(data), tmp_path / "notes") == data_fingerprint(str(data)) != first


def test_a_checked_file_that_is_damaged_later_is_noticed(settled, tmp_path):
    path = tmp_path / "file.rows"
    schema = pyarrow.schema([("number", pyarrow.int32())])
    with write_table(path, schema) as writer:
        writer.write_batch(pyarrow.record_batch([pyarrow.array([1, 2], "i4")], schema))
    assert is_intact(path) and is_intact(path)
    time.sleep(TICK)
    whole = path.read_bytes()
    path.write_bytes(whole[:1] + bytes([whole[1] ^ 1]) + whole[2:])
    assert not is_intact(path)
