"""Tables in files: the same rows back, and no damage goes unnoticed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.errors import UserError
from rewardgap.io import tables
from rewardgap.io.tables import MappedTable, is_intact, write_table

SCHEMA = pyarrow.schema([("row", pyarrow.list_(pyarrow.int32())), ("length", pyarrow.int64())])
rows = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=12)


def batch(values: list[list[int]]) -> pyarrow.RecordBatch:
    columns = [pyarrow.array(values, SCHEMA.field(0).type), pyarrow.array(map(len, values), "i8")]
    return pyarrow.record_batch(columns, SCHEMA)


def write(path: Path, *batches: list[list[int]], **metadata: str) -> Path:
    with write_table(path, SCHEMA) as writer:
        for values in batches:
            writer.write_batch(batch(values))
        writer.write_batch(batch([]), custom_metadata=metadata)
    return path


@given(st.lists(rows, max_size=3))
def test_rows_and_metadata_come_back(batches):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", 100)
        path = write(Path(folder) / "file", *batches, named="ü")
        assert is_intact(path)
        table = MappedTable(path)
        values = [row for part in batches for row in part]
        assert len(table) == len(values)
        assert [table.cell("row", i).as_py() for i in range(len(values))] == values
        assert table.column("length").tolist() == list(map(len, values))
        assert table.metadata == {b"named": "ü".encode()}
        assert list(Path(folder).iterdir()) == [path]


def test_rows_are_counted_from_either_end(tmp_path):
    table = MappedTable(write(tmp_path / "file", [[1, 2], []], [[3]]))
    assert table.cell("row", -1).as_py() == table.cell("row", 2).as_py() == [3]
    for outside in (3, -4):
        with pytest.raises(IndexError):
            table.cell("row", outside)


def test_no_byte_can_change_unnoticed(tmp_path, caplog):
    path = write(tmp_path / "file", [[1, 2]], [[3]])
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))] + [whole + b"\0"]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        assert not is_intact(path)
    assert caplog.text.count("is damaged; it is computed again") == len(damaged)
    path.write_bytes(whole)
    assert is_intact(path)


def test_a_file_that_is_cut_while_in_use_is_an_error(tmp_path):
    path = write(tmp_path / "file", *[[[0] * 10_000]] * 3)
    table = MappedTable(path)
    assert len(table.cell("row", 1).as_py()) == 10_000
    path.write_bytes(path.read_bytes()[:100])
    for read in (lambda: table.cell("row", 2), lambda: table.column("length")):
        with pytest.raises(UserError, match="file was cut while in use: start again"):
            read()


def test_a_file_that_is_replaced_while_in_use_keeps_its_rows(tmp_path):
    table = MappedTable(write(tmp_path / "file", [[1, 2]]))
    write(tmp_path / "file", [[3]] * 1000)
    assert table.cell("row", 0).as_py() == [1, 2]


def test_a_missing_file_needs_no_warning(tmp_path, caplog):
    assert not is_intact(tmp_path / "file")
    assert not caplog.text


def test_an_unfinished_file_does_not_exist(tmp_path):
    with (
        pytest.raises(UserError, match="No space left"),
        write_table(tmp_path / "file", SCHEMA) as writer,
    ):
        writer.write_batch(batch([[1, 2, 3]]))
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
