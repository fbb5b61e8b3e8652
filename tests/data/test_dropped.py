"""The list of dropped records, as it is read again."""

import pytest

from rewardgap.data.dropped import TRAINING, DroppedRecord, read_dropped, write_dropped
from rewardgap.errors import UserError


def test_the_training_records_in_a_list(tmp_path):
    path = tmp_path / "dropped.jsonl"
    lists = {name: [DroppedRecord(f"of {name}", "empty")] for name in (TRAINING, "test")}
    assert read_dropped(path) == set()
    write_dropped(path, lists)
    assert read_dropped(path) == {f"of {TRAINING}"}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", "5", "[" * 9999, '{"data": "the training data", "record": []}', "\xff"],
)
def test_a_damaged_list(tmp_path, text):
    path = tmp_path / "dropped.jsonl"
    path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match="is damaged") as caught:
        read_dropped(path)
    assert "\n" not in str(caught.value)
