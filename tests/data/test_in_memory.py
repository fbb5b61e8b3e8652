"""Rows in memory as data: the same records as from a file, under a name that tells them apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from toy import pair_rows, several_rows

from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.in_memory import by_keywords, plain
from rewardgap.data.load import load
from rewardgap.errors import UserError


@by_keywords(ScoreConfig)
def score(config: ScoreConfig) -> ScoreConfig:
    """Return the configuration."""
    return config


def given(tmp_path, data, **keywords) -> str:
    return score(model="m", out="o", cache=tmp_path, data=data, **keywords).data


@pytest.fixture(params=[pair_rows(7), several_rows(5)], ids=["pairs", "several"])
def rows(request):
    return request.param


def test_rows_frames_and_data_sets_are_read_alike(rows, tmp_path):
    import datasets
    import pandas

    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = load(str(file))
    for data in (rows, tuple(rows), pandas.DataFrame(rows), datasets.Dataset.from_list(rows), file):
        assert load(given(tmp_path, data)) == expected


def test_the_name_says_how_many_rows_and_tells_others_apart(tmp_path):
    rows = pair_rows(3)
    path = Path(given(tmp_path, rows))
    assert path.parent == tmp_path / "rows" and path.name.startswith("3-rows-in-memory-")
    changed = path.stat().st_mtime_ns
    assert Path(given(tmp_path, pair_rows(3))) == path and path.stat().st_mtime_ns == changed
    rows[1]["chosen"] += "!"
    assert Path(given(tmp_path, rows)) != path
    assert len(list(path.parent.iterdir())) == 2


def test_every_key_of_data_takes_rows(tmp_path):
    from rewardgap.configs.training import TrainConfig

    command = by_keywords(TrainConfig)(lambda config: config)
    common = {"model": "m", "kind": "k", "out": "o", "cache": str(tmp_path)}
    config = command(**common, train=["a.jsonl", pair_rows(2)], eval={"t": pair_rows(3), "f": "b"})
    assert config.train[0] == "a.jsonl"
    assert len(load(config.train[1])) == 2 and len(load(config.eval["t"])) == 3
    assert config.eval["f"] == "b"
    assert command(config) is config  # a configuration is taken as it is


def test_missing_values_of_a_frame_are_null(tmp_path):
    import pandas

    frame = pandas.DataFrame([*pair_rows(1), {**pair_rows(1)[0], "id": None, "score": 0.1 + 0.2}])
    text = Path(given(tmp_path, frame)).read_text()
    second = json.loads(text.splitlines()[1])
    assert second["id"] is None and second["score"] == pytest.approx(0.3, abs=1e-14)


def test_texts_of_any_kind_survive(tmp_path):
    odd = [
        {**pair_rows(1)[0], "chosen": "line\u2028separator, é🙂, \x85 and\nmore", "rejected": "n"}
    ]
    (record,) = load(given(tmp_path, odd))
    assert record.chosen[0][0].content == odd[0]["chosen"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"data must be text; it is \[\]"),
        (3, "data must be text; it is 3"),
        ([{"prompt": {1}}], "data, row 1: cannot be JSON: Object of type set is not"),
    ],
)
def test_what_is_no_data_is_one_line(data, message, tmp_path):
    with pytest.raises(UserError, match=message):
        given(tmp_path, data)


def test_a_dictionary_of_splits_is_refused(tmp_path):
    import datasets

    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(pair_rows(2))})
    with pytest.raises(UserError, match="data is a mapping of train: name one of these"):
        given(tmp_path, splits)
    assert not (tmp_path / "rows").exists()


def test_values_become_plain():
    assert plain({"a": (np.int64(3), Path("b"))}) == {"a": [3, "b"]}
    assert type(plain(np.float32(0.5))) is float
