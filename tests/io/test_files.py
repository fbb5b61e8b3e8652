"""Files and folders that are either complete or absent, and checksums of finished files."""

import json
import os
import stat

import pytest
import xxhash

from rewardgap.errors import UserError
from rewardgap.io.files import (
    CHECKSUMS,
    find_damaged,
    refuse_damaged,
    write_checksums,
    write_text,
)


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    """Nor a device: root may write over /dev/null, and the machine loses it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UserError, match="device or a pipe; name a file"):
        write_text(path, "text")
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_a_changed_and_a_missing_file_are_found(tmp_path):
    files = {tmp_path / name: tmp_path / name for name in ("a.txt", "b/c.txt", "b/d.txt")}
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    assert not find_damaged(tmp_path), "an older folder has no checksums"
    staged = tmp_path / "e.staged"
    staged.write_text("later")
    write_checksums(tmp_path, files | {tmp_path / "e.txt": staged})
    values = json.loads((tmp_path / CHECKSUMS).read_text())["xxh3_128"]
    assert values["b/c.txt"] == xxhash.xxh3_128(b"c.txt").hexdigest()
    assert find_damaged(tmp_path) == [tmp_path / "e.txt"]
    staged.rename(tmp_path / "e.txt")
    assert not find_damaged(tmp_path)
    (tmp_path / "b/c.txt").write_text("c.txu")
    (tmp_path / "a.txt").unlink()
    assert set(find_damaged(tmp_path)) == {tmp_path / "b/c.txt", tmp_path / "a.txt"}
    assert find_damaged(tmp_path, "b/*") == [tmp_path / "b/c.txt"]
    with pytest.raises(UserError, match=r"c\.txt is not what was written, .*: mend it; .*remove"):
        refuse_damaged(tmp_path, remedy="mend it", gone=False)
    (tmp_path / "b/c.txt").write_text("c.txt")
    refuse_damaged(tmp_path, remedy="mend it", gone=False)
    with pytest.raises(UserError, match=r"a\.txt is not what was written"):
        refuse_damaged(tmp_path, remedy="mend it")


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"xxh3_128": 3}', '{"xxh3_128": ["ab"]}', "\0"),
        '{"xxh3_128": {"\\n": "ab"}}',
    ],
)
def test_damaged_checksums_are_refused(text, tmp_path):
    (tmp_path / CHECKSUMS).write_text(text)
    with pytest.raises(UserError, match=CHECKSUMS) as caught:
        find_damaged(tmp_path)
    assert "\n" not in str(caught.value)
