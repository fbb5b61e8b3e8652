"""Files that are either complete or absent."""

import os
import stat

import pytest

from rewardgap.errors import UserError
from rewardgap.io.files import write_text


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    """Nor a device: root may write over /dev/null, and the machine loses it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UserError, match="device or a pipe; name a file"):
        write_text(path, "text")
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]
