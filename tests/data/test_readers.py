"""Files as people have them: compressed, as tables, in shards, and as downloaded repositories."""

import bz2
import csv
import gzip
import json
import lzma
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet
from refusals import refused
from toy import write_rows

from rewardgap.data.load import data_fingerprint, load
from rewardgap.data.parsing import parse_record
from rewardgap.data.spec import parse_spec

ROWS = [
    {"prompt": "Which bird?", "chosen": "An owl, I think.", "rejected": "A stone."},
    {"prompt": 'Say "hi"\nplease', "chosen": "hi", "rejected": "no\r\nway"},
    {"prompt": "猫?", "chosen": "はい", "rejected": "いいえ"},
]
EXPECTED = [parse_record(row, "here") for row in ROWS]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def zstandard(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard,
}


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_files(ending, tmp_path):
    path = tmp_path / f"rows.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](LINES))
    assert load(str(path)) == EXPECTED
    array = tmp_path / f"rows.json{ending}"
    array.write_bytes(COMPRESS[ending](json.dumps(ROWS).encode()))
    assert load(str(array)) == EXPECTED
    twice = COMPRESS[ending](LINES[:-20]) + COMPRESS[ending](LINES[-20:])
    path.write_bytes(twice)  # as parallel compressors write
    assert load(str(path)) == EXPECTED
    path.write_bytes(COMPRESS[ending](LINES * 99)[:-9])
    assert refused(str(path)).startswith(f"{path}: cannot be read: ")
    path.write_bytes(LINES)
    assert refused(str(path)).startswith(f"{path}: cannot be read: ")


def test_line_ends_of_windows_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"))
    assert load(str(path)) == EXPECTED


def write_table(path, rows, **options):
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_tables(tmp_path):
    assert load(write_table(tmp_path / "rows.csv", ROWS)) == EXPECTED
    assert load(write_table(tmp_path / "rows.tsv", ROWS, delimiter="\t")) == EXPECTED
    plain = write_table(tmp_path / "rows.csv", ROWS)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert load(f"{plain}.gz") == EXPECTED


def test_tables_hold_messages_as_json_and_figures_as_text(tmp_path):
    asked, good, bad = (
        json.dumps([{"role": role, "content": text}])
        for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))
    )
    path = write_table(tmp_path / "a.csv", [{"prompt": asked, "chosen": good, "rejected": bad}])
    assert load(path)[0] == parse_record({"prompt": "q", "chosen": "a", "rejected": "b"}, "x")
    arena = {"prompt": '["q"]', "response_a": '["b"]', "response_b": '["a"]'}
    winner = {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}
    (record,) = load(write_table(tmp_path / "b.csv", [{"id": 7, **arena, **winner}]))
    assert (record.id, record.chosen[0][0].content) == ("7", "a")
    code = {"prompt": "q", "chosen": "[{x for x in y}]", "rejected": '["x"]'}
    assert load(write_table(tmp_path / "c.csv", [code]))[0].chosen[0][0].content == code["chosen"]


TABLES = {
    "words": (
        "prompt,chosen,rejected\nq,\"[{'role': 'assistant'}]\",b\n",
        "row 1: `chosen` is a l",
    ),
    "json": ('prompt,chosen,rejected\nq,"[{""role"": 3",b\n', "row 1: `chosen` is broken JSON"),
    "many": ("prompt,chosen,rejected\nq,a,b,c\n", "row 1: more cells than columns"),
    "few": ("prompt,chosen,rejected\nq,a\n", "row 1: fewer cells than columns"),
    "quote": ('prompt,chosen,rejected\nq,"a,b\n', "broken CSV"),
    "twice": ("prompt,chosen,chosen\nq,a,b\n", "two columns have the same name"),
    "header": ("prompt,chosen,rejected\n", "holds no records"),
    "empty": ("", "holds no records"),
    "missing": ("prompt,chosen\nq,a\n", "row 1: `rejected` is missing"),
}


@pytest.mark.parametrize("name", TABLES)
def test_broken_tables(name, tmp_path):
    content, words = TABLES[name]
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="utf-8")
    assert words in refused(str(path))
    path.write_bytes(b"prompt,chosen,rejected\n\xff,a,b\n")
    assert "not UTF-8" in refused(str(path))


def shards(folder):
    (folder / "data").mkdir(parents=True)
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        path = folder / "data" / f"train-0000{number}-of-00002.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return folder


def test_a_pattern_of_shards(tmp_path):
    pattern = f"{shards(tmp_path)}/data/*.parquet"
    assert load(pattern) == EXPECTED
    assert load(f"{pattern}?limit=1") == EXPECTED[:1]
    first = data_fingerprint(pattern)
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data" / "train-2.parquet")
    assert data_fingerprint(pattern) != first
    assert "has no part 'x'" in refused(f"{pattern}:x")


def test_a_downloaded_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = shards(tmp_path / "repository")
    card = (
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*"
    )
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    assert load(str(folder)) == load(f"{folder}:train") == EXPECTED
    assert f"name one of its splits as {folder}:SPLIT: valid are train" in refused(f"{folder}:dev")


def test_lists_of_a_parquet_file(tmp_path):
    turns = [{"role": "user", "content": "q"}]
    rows = [
        {
            "prompt": turns,
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
            "tags": [1.5, 2.5],
        }
    ]
    path = tmp_path / "rows.parquet"
    table = pa.Table.from_pylist(rows)
    large = table["tags"].cast(pa.large_list(pa.float32()))
    for written in (table, table.set_column(3, "tags", large)):
        parquet.write_table(written, path)
        assert load(str(path))[0].metadata == {"tags": [1.5, 2.5]}


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "rows.jsonl", ROWS)
    assert load("~/rows.jsonl") == load("~/*.jsonl?limit=3") == EXPECTED
    assert parse_spec("scored:all?path=~/x").options["path"] == f"{tmp_path}/x"
    write_rows(tmp_path / "labels.jsonl", [{**UNSURE, "winner": "a"}])
    assert len(load("winners:rows?path=~/labels.jsonl")) == 1


UNSURE = {"prompt": "q", "response_a": "a", "response_b": "b"}


def with_ids(*numbers):
    return [{"id": n, "prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in numbers]


def test_ids_that_repeat_across_files_get_the_name_of_their_file(tmp_path):
    first = write_rows(tmp_path / "first.jsonl", with_ids(0, 1))
    second = write_rows(tmp_path / "second.jsonl", with_ids(1, 2, 0))
    (tmp_path / "deep").mkdir()
    third = write_rows(tmp_path / "deep" / "second.jsonl", with_ids(0))
    ids = [record.id for record in load([first, second, third])]
    assert ids == ["0", "1", "second/1", "2", "second/0", f"{third}/0"]
    assert [record.id for record in load(f"{tmp_path}/*.jsonl")] == ids[:5]


def test_ids_that_repeat_within_a_file_are_refused(tmp_path):
    first = write_rows(tmp_path / "first.jsonl", with_ids(0, 0))
    assert "line 2: `id` '0' occurs twice" in refused(first)
    second = write_rows(tmp_path / "second.jsonl", with_ids(5, 5))
    other = write_rows(tmp_path / "other.jsonl", with_ids(5))
    assert f"{second}, line 2: `id` '5' occurs twice" in refused([other, second])


def test_a_folder_of_everything_is_no_data_set(tmp_path, monkeypatch):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("a")
    monkeypatch.setattr("rewardgap.data.readers.MOST_FILES", 3)
    assert refused(str(tmp_path)) == f"{tmp_path}: holds more than 3 files: name the data in it"
