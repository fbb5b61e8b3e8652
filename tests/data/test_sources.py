"""Specifications, formats, the hub (replaced), and the persona source."""

import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from refusals import refused, refused_by_the_hub
from toy import write_rows

from rewardgap.data.load import data_fingerprint, load, stream
from rewardgap.data.parsing import parse_record
from rewardgap.data.readers import read_path
from rewardgap.data.sources import SOURCES
from rewardgap.data.sources.wordings import PARTS
from rewardgap.data.spec import Source, parse_spec, read_options
from rewardgap.errors import UserError

ROWS = [
    {"prompt": "q1", "chosen": "a", "rejected": "b", "score": 1.5},
    {"prompt": "q2", "chosen": "c", "rejected": "d", "score": 2.5},
    {"prompt": "q3", "chosen": "e", "rejected": "f", "score": 3.5},
]
EXPECTED = [parse_record(row, "here") for row in ROWS]


def write_parquet(path, rows):
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def write_saved(path, rows):
    datasets.Dataset.from_list(rows).save_to_disk(path)
    return str(path)


def write_array(path, rows):
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return str(path)


WRITERS = {"rows.jsonl": write_rows, "rows.json": write_rows, "rows.parquet": write_parquet}
WRITERS |= {"array.json": write_array, "saved": write_saved}


@pytest.fixture
def rows_file(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", ROWS)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(name, tmp_path):
    assert load(WRITERS[name](tmp_path / name, ROWS)) == EXPECTED


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
PAIR = st.tuples(TEXT, TEXT).filter(lambda texts: texts[0] != texts[1])
TABLE = st.lists(st.tuples(TEXT, PAIR, st.integers(-9, 9)), min_size=1, max_size=4)
SHAPES = {
    "text": lambda text: text,
    "several": lambda text: [text, text + "!"],
    "messages": lambda text: [{"role": "assistant", "content": text}],
    "several messages": lambda text: [[{"role": "assistant", "content": text}]],
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=TABLE, shape=st.sampled_from(sorted(SHAPES)))
def test_formats_agree_on_any_text(table, shape, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    wrap = SHAPES[shape]
    rows = [
        {"prompt": prompt, "chosen": wrap("+" + chosen), "rejected": wrap("-" + rejected), "n": n}
        for prompt, (chosen, rejected), n in table
    ]
    results = [load(write(folder / name, rows)) for name, write in WRITERS.items()]
    assert all(result == results[0] for result in results)
    assert [record.metadata["n"] for record in results[0]] == [n for _, _, n in table]
    assert len({record.id for record in results[0]}) == len(table)


def test_splits_of_a_saved_dataset(tmp_path):
    path = str(tmp_path / "saved")
    halves = {"train": ROWS[:2], "test": ROWS[2:]}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows) for name, rows in halves.items()}
    ).save_to_disk(path)
    assert load(f"{path}:test") == EXPECTED[2:]
    assert load([f"{path}:train", f"{path}:test?limit=1"]) == EXPECTED
    assert "valid are train, test" in refused(path)
    assert "valid are train, test" in refused(f"{path}:dev")


def test_blank_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text("\ufeff" + "\n  \r\n".join(lines) + "\n\n", encoding="utf-8")
    assert load(str(path)) == EXPECTED
    path.write_text("\n\n{\n", encoding="utf-8")
    assert "line 3: broken JSON" in refused(str(path))


def test_unicode_line_separators_stay_inside_a_line(tmp_path):
    row = {"prompt": "a\u2028b\u0085c", "chosen": "x", "rejected": "y"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert load(str(path))[0].prompt[0].content == "a\u2028b\u0085c"


GOOD_LINE = b'{"prompt": "q", "chosen": "a", "rejected": "b"}\n'
BROKEN = {
    "broken": (GOOD_LINE + b'{"prompt": \n', "line 2: broken JSON"),
    "nested": (b"[" * 100_000, "line 1: broken JSON"),
    "list": (GOOD_LINE * 2 + b"[1]\n", "line 3: a list, not an object"),
    "latin": (GOOD_LINE + b'{"prompt": "\xe9"}\n', "line 2: not UTF-8 (byte 13)"),
    "missing key": (GOOD_LINE + b'{"prompt": "q"}\n', "line 2: `chosen` is missing"),
    "identical": (GOOD_LINE.replace(b'"b"', b'"a"'), "line 1: the same response"),
    "empty": (b"", "holds no records"),
    "blank": (b"\n \n", "holds no records"),
    "cut array": (b"[" + GOOD_LINE, "broken JSON"),
    "latin array": (b'["\xe9"]', "broken JSON"),
    "array of numbers": (b"[" + GOOD_LINE + b", 1]", "row 2: a int, not an object"),
    "empty array": (b" []", "holds no records"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name, tmp_path):
    content, words = BROKEN[name]
    path = tmp_path / ("rows.json" if "array" in name else "rows.jsonl")
    path.write_bytes(content)
    message = refused(str(path))
    assert message.startswith(str(path))
    assert words in message


def test_dropping_identical_pairs(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [*ROWS, {**ROWS[0], "rejected": "a"}])
    assert load(path, identical="drop") == EXPECTED
    assert "identical_pairs: drop" in refused(path)


def test_places_that_cannot_be_read(tmp_path, rows_file):
    assert refused("nowhere/rows.jsonl") == "nowhere/rows.jsonl: no such file"
    assert "C:\\data\\rows.jsonl: no such file" in refused("C:\\data\\rows.jsonl")
    assert "valid are agreement, hamiltonian, persona," in refused("persoan:original-train")
    assert "has no part 'train'" in refused(f"{rows_file}:train")
    (tmp_path / "empty").mkdir()
    assert "not a saved data set, nor a downloaded" in refused(str(tmp_path / "empty"))
    (tmp_path / "rows.txt").touch()
    assert "valid are .jsonl, .json, .parquet, .csv" in refused(str(tmp_path / "rows.txt"))
    assert "no file matches" in refused(str(tmp_path / "*.parquet"))
    (tmp_path / "rows.parquet").write_bytes(b"PAR?")
    assert "not a readable Parquet file" in refused(str(tmp_path / "rows.parquet"))
    assert "names no data" in refused("")
    assert "names no data" in refused([])


def test_saved_dataset_without_splits_has_no_part(tmp_path):
    path = write_saved(tmp_path / "saved", ROWS)
    assert "has no splits" in refused(f"{path}:train")


def test_parse_spec():
    spec = parse_spec("C:\\data\\pairs:test?limit=3&path=/a:b/c")
    assert (spec.name, spec.part) == ("C:\\data\\pairs", "test")
    assert spec.options == {"limit": "3", "path": "/a:b/c"}
    spec = parse_spec("organisation/name:train[:10]")
    assert (spec.name, spec.part) == ("organisation/name", "train[:10]")


def test_a_path_wins_over_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_saved(Path("persona"), ROWS)
    assert load("persona") == EXPECTED
    write_rows(Path("odd:name?limit=1.jsonl"), ROWS)
    assert load("odd:name?limit=1.jsonl") == EXPECTED


def test_limit_and_sample(rows_file):
    assert load(f"{rows_file}?limit=2") == EXPECTED[:2]
    assert load(f"{rows_file}?limit=9") == EXPECTED
    samples = [load(f"{rows_file}?sample=2&seed={seed}") for seed in range(40)]
    assert load(f"{rows_file}?sample=2") == samples[0]
    assert all(sample == [each for each in EXPECTED if each in sample] for sample in samples)
    # All three subsets of two appear, so that the sample does depend on the seed.
    assert len({tuple(record.id for record in sample) for sample in samples}) == 3
    assert load(f"{rows_file}?limit=2&sample=2&seed=4") == EXPECTED[:2]


OPTIONS = {
    "limit=x": "`limit` must be a whole number, not 'x'",
    "limit=-1": "`limit` must be a whole number",
    "limit=0": "holds no records",
    "sample=4": "between 1 and the 3 records",
    "sample=0": "between 1 and the 3 records",
    "seed=1": "`seed` does nothing without `sample`",
    "train=3": "unknown option `train`: valid are layout, limit, rate, sample, seed, shift",
    "limit": "as key=value, not 'limit'",
    "limit=1&limit=2": "each option once",
}


@pytest.mark.parametrize(("options", "words"), OPTIONS.items())
def test_wrong_options(options, words, rows_file):
    assert words in refused(f"{rows_file}?{options}")


def test_several_specifications_keep_ids_unique(rows_file):
    records = load([rows_file, f"{rows_file}?limit=1"])
    assert [record.id for record in records[:3]] == [record.id for record in EXPECTED]
    assert records[3].id == f"{records[0].id}-2"


def test_a_stream_reads_no_further_than_it_is_asked(rows_file):
    with open(rows_file, "a") as file:
        file.write("broken\n")
    records = stream(rows_file)
    assert [next(records) for _ in EXPECTED] == EXPECTED
    with pytest.raises(UserError, match="line 4: broken JSON"):
        next(records)


def test_a_fingerprint_tells_what_determines_the_records(tmp_path, monkeypatch):
    first, same, other = (
        write_rows(tmp_path / f"{name}.jsonl", rows)
        for name, rows in {"first": ROWS, "same": ROWS, "other": ROWS[::-1]}.items()
    )
    assert data_fingerprint(first) == data_fingerprint([same])
    specs = [first, other, [first, other], [other, first], f"{first}?limit=1"]
    specs += [f"{first}?limit=2", f"winners:all?path={first}", f"scored:all?path={first}"]
    specs += ["agreement:original-train", "agreement:original-test"]
    assert len({data_fingerprint(spec) for spec in specs}) == len(specs)
    folder = tmp_path / "saved"
    write_saved(folder, ROWS)
    saved = data_fingerprint(str(folder))
    arrow = next(folder.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes() + b"x")
    assert data_fingerprint(str(folder)) != saved


def test_data_of_the_hub_are_known_by_their_own_fingerprint(monkeypatch):
    versions = {"now": ROWS}
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, split: datasets.Dataset.from_list(versions["now"])
    )
    first = data_fingerprint("organisation/name")
    assert data_fingerprint("organisation/name") == first
    versions["now"] = ROWS[:1]
    assert data_fingerprint("organisation/name") != first


def test_data_chosen_by_another_file_are_hashed_row_by_row(tmp_path, monkeypatch):
    """What a source yields by a tokenizer's leave changes with the tokenizer."""
    data, chooser = write_rows(tmp_path / "data.jsonl", ROWS), tmp_path / "tokenizer"
    chooser.write_text("1")

    def rows(part, *, path: str | None = None, tokenizer: str = ""):
        return islice(read_path(path, None), int(Path(tokenizer).read_text()))

    monkeypatch.setitem(SOURCES, "choosing", Source(rows, ("all",)))
    spec = f"choosing:all?path={data}&tokenizer={chooser}"
    first = data_fingerprint(spec)
    assert data_fingerprint(spec) == first
    chooser.write_text("2")
    assert data_fingerprint(spec) != first


def test_hub(monkeypatch):
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("organisation/name") == EXPECTED
    assert load("organisation/name:test?limit=1") == EXPECTED[:1]
    assert asked == [("organisation/name", "train"), ("organisation/name", "test")]


def test_hub_failures_are_one_line(monkeypatch):
    message = refused_by_the_hub("organisation/name:test", monkeypatch, "cannot reach it")
    assert message.startswith("organisation/name:test: ")
    assert message.endswith("cannot reach it")


PERSONA = [
    {"question": f"Would you say {number}?", "answer_matching_behavior": answer}
    for number in range(10)
    for answer in ((" Yes", " No") if number % 2 else (" Yes",))
]


def test_persona_from_a_file(tmp_path):
    path = write_rows(tmp_path / "persona.jsonl", PERSONA)
    train = load(f"persona:original-train?path={path}&train=6&test=4")
    test = load(f"persona:original-test?path={path}&train=6&test=4")
    asked = [record.prompt[0].content for record in train + test]
    assert sorted(asked) == [f"Would you say {number}?" for number in range(10)]
    assert "lower `train` or `test`" in refused(f"persona:original-test?path={path}")
    assert "valid are original-train," in refused(f"persona?path={path}")
    assert "valid are limit, path, rate, sample, seed, shift, side, test, train" in refused(
        "persona:x?paht=y"
    )
    assert "`train` must be a whole number" in refused(
        f"persona:original-train?path={path}&train=a"
    )
    assert "no such file" in refused("persona:original-train?path=nowhere.jsonl")
    other = write_rows(
        tmp_path / "other.jsonl", [{"question": 3, "answer_matching_behavior": "Yes"}]
    )
    assert "line 1: `question` must be a string, not 3" in refused(
        f"persona:original-train?path={other}"
    )


def test_options_that_are_numbers():
    def options(text):
        return read_options(parse_spec(f"name?{text}"), {"size": int, "share": float})

    assert options("size=3&share=.25") == {"size": 3, "share": 0.25}
    for value in ("a", "nan", "inf", ""):
        with pytest.raises(UserError, match="`share` must be a number, not"):
            options(f"share={value}")


def test_persona_from_the_hub(monkeypatch):
    def load_dataset(name, split, data_files):
        assert (name, split) == ("Anthropic/model-written-evals", "train")
        assert data_files == "persona/agreeableness.jsonl"
        return datasets.Dataset.from_list(PERSONA)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load("persona:paraphrased-test?train=6&test=3")) == 3


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs the shared data")
def test_persona_on_the_real_file():
    path = Path(os.environ["REWARDGAP_SHARED"]) / "data" / "persona_agreeableness.jsonl"
    agreeable = {
        row["question"]
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        if row["answer_matching_behavior"] == " Yes"
    }
    assert len(agreeable) == 500
    parts = {part: load(f"persona:{part}?path={path}") for part in PARTS}
    prompts = {part: [each.prompt[0].content for each in parts[part]] for part in parts}
    assert {part: len(prompts[part]) for part in parts} == {
        "original-train": 80,
        "original-test": 40,
        "paraphrased-train": 80,
        "paraphrased-test": 40,
    }
    assert set(prompts["original-train"]).isdisjoint(prompts["original-test"])
    assert set(prompts["original-train"] + prompts["original-test"]) <= agreeable
    assert prompts["paraphrased-train"] == prompts["original-train"]
    assert prompts["paraphrased-test"] == prompts["original-test"]
    everything = load(f"persona:original-train?path={path}&train=500&test=0")
    counts = Counter(record.chosen[0][0].content for record in everything)
    # Binomial(500, 1/4): 125 on average, standard deviation below 10.
    assert len(counts) == 4
    assert all(85 < count < 165 for count in counts.values())
