"""Rows of numbers in a file: the same ones back, and no damage goes unseen."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rewardgap.errors import UserError
from rewardgap.io import ragged
from rewardgap.io.ragged import Ragged, is_intact, write_ragged

rows = st.lists(arrays(np.int32, st.integers(0, 5), elements=st.integers(-(2**31), 2**31 - 1)))


def write(path: Path, values, dtype=np.int32, **description) -> Path:
    with write_ragged(path, dtype) as writer:
        for number, row in enumerate(values):
            writer.add(row, number, len(row) * 2**40)
        writer.description = description
    return path


@given(rows, st.data())
def test_rows_and_notes_come_back(values, data):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged, "BLOCK", 2)
        path = write(Path(folder) / "file", values, named="ü")
        assert is_intact(path)
        found = Ragged(path, np.int32, columns=2)
        assert len(found) == len(values) and found.description["named"] == "ü"
        assert all(np.array_equal(a, b) for a, b in zip(found, values, strict=True))
        assert found.column(0, np.int32).tolist() == list(range(len(values)))
        assert found.column(1, np.int64).tolist() == [len(row) * 2**40 for row in values]
        part = data.draw(st.slices(len(values)))
        assert [row.tolist() for row in found[part]] == [row.tolist() for row in values[part]]
        assert list(Path(folder).iterdir()) == [path]


def test_rows_are_counted_from_either_end(tmp_path):
    values = [np.arange(n, dtype=np.float32) / 3 for n in (2, 0, 4)]
    found = Ragged(write(tmp_path / "file", values, np.float32), np.float32, columns=2)
    assert found[-1].tolist() == found[2].tolist() == values[2].tolist()
    assert found[0].dtype == np.float32
    for outside in (3, -4):
        with pytest.raises(IndexError):
            found[outside]


def test_no_byte_can_change_unseen(tmp_path, caplog):
    path = write(tmp_path / "file", [np.array([1, 2], np.int32), np.array([3], np.int32)])
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
    path = write(tmp_path / "file", [np.arange(10_000, dtype=np.int32)] * 3)
    found = Ragged(path, np.int32, columns=2)
    assert len(found[1]) == 10_000
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="file was cut while in use: start again"):
        found[2]


def test_pages_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(ragged, "MOST_MAPPED", 2**20)
    path = write(tmp_path / "file", [np.full(50_000, n, np.int32) for n in range(200)])
    found = Ragged(path, np.int32, columns=2)
    most = max(mapped(path) for row in found if row[-1] == row[0])
    assert 0 < most < path.stat().st_size / 5


def mapped(path: Path) -> int:
    """Bytes of a file that are resident in this process."""
    if not Path("/proc/self/smaps").exists():
        pytest.skip("this system does not tell what is resident")
    maps = Path("/proc/self/smaps").read_text("utf-8").split(str(path))[1:]
    return sum(int(each.split("Rss:")[1].split()[0]) * 1024 for each in maps)


def test_a_missing_file_needs_no_warning(tmp_path, caplog):
    assert not is_intact(tmp_path / "file")
    assert not caplog.text


def test_a_file_that_is_not_finished_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No space left"), write_ragged(tmp_path / "f", "i4") as to:
        to.add(np.arange(3))
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_the_content_is_that_of_the_rows_alone(tmp_path):
    first, same, other = (
        Ragged(write(tmp_path / name, [np.array(row)], note=name), np.int32, 2)
        for name, row in {"first": [1, 2], "same": [1, 2], "other": [2, 1]}.items()
    )
    content = [each.description["content"] for each in (first, same, other)]
    assert content[0] == content[1] != content[2]
