"""The paper's data sets: from files of their layout and a replaced hub, cleaned and drawn."""

import json
import os
from collections import Counter
from pathlib import Path

import datasets
import pytest
from pyarrow import Table, parquet
from refusals import refused, refused_by_the_hub
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from toy import write_rows

from rewardgap.data.load import load


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One token a word and one in front; it also truncates, which must not matter."""
    made = Tokenizer(WordLevel({"<begin>": 0, "<unknown>": 1}, unk_token="<unknown>"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="<begin> $A", special_tokens=[("<begin>", 0)])
    made.enable_truncation(100)
    made.enable_padding(length=700)
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return folder


def words(count):
    return " ".join(["word"] * count)


def texts(record):
    return tuple(each.content for part in (record.prompt, *record.responses) for each in part)


def ultrafeedback(number, scores=(8.0, 5.0), **changes):
    prompt = changes.pop("prompt", f"Question {number}?")
    row = {"prompt": prompt, "prompt_id": str(number), "messages": []}
    for key, score, answer in zip(("chosen", "rejected"), scores, ("good", "bad"), strict=True):
        answer = changes.pop(key, f"{answer} {number}")
        row[key] = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        row[f"score_{key}"] = score
    return {**row, **changes}


LEFT_OUT = {
    "equal scores": ultrafeedback(90, scores=(6.5, 6.5)),
    "translate": ultrafeedback(91, prompt="Please TRANSLATE this."),
    "translation": ultrafeedback(92, prompt="A translation?"),
    "long prompt": ultrafeedback(93, prompt=words(512)),
    "long chosen": ultrafeedback(94, chosen=words(512)),
    "long rejected": ultrafeedback(95, rejected=words(512)),
    "empty": ultrafeedback(96, rejected=" \n"),
    "identical": ultrafeedback(97, chosen="same", rejected="same"),
}
KEPT = [ultrafeedback(number) for number in range(8)]
KEPT += [ultrafeedback(8, prompt=words(511), chosen=words(511), rejected=words(510))]
KEPT += [ultrafeedback(9, prompt="In what language is this transl.?")]


def contents(rows):
    return {
        (row["prompt"], row["chosen"][1]["content"], row["rejected"][1]["content"]) for row in rows
    }


def test_ultrafeedback_is_cleaned(tmp_path, tokenizer):
    path = write_rows(tmp_path / "train.jsonl", [*LEFT_OUT.values(), *KEPT])
    spec = f"ultrafeedback:train?path={path}&tokenizer={tokenizer}"
    records = load(f"{spec}&train=10")
    assert {texts(record) for record in records} == contents(KEPT)
    assert records[0].metadata == {"score_chosen": 8.0, "score_rejected": 5.0}
    assert "11 pairs were asked for, but only 10 pass the filters" in refused(f"{spec}&train=11")
    assert "lower `train`" in refused(spec)
    file = tokenizer / "tokenizer.json"
    assert load(f"ultrafeedback:train?path={path}&tokenizer={file}&train=10") == records


def test_no_tokenizer_keeps_every_length(tmp_path):
    long = [LEFT_OUT[name] for name in LEFT_OUT if name.startswith("long")]
    path = write_rows(tmp_path / "train.jsonl", [*LEFT_OUT.values(), *KEPT])
    records = load(f"ultrafeedback:train?path={path}&tokenizer=none&train=13")
    assert {texts(record) for record in records} == contents(KEPT + long)


def test_samples_are_random_and_begin_alike(tmp_path):
    path = write_rows(tmp_path / "test.jsonl", KEPT)
    spec = f"ultrafeedback:test?path={path}&tokenizer=none"
    assert load(f"{spec}&test=3") == load(f"{spec}&test=7")[:3] == load(f"{spec}&test=3&seed=0")
    firsts = Counter(load(f"{spec}&test=1&seed={seed}")[0].id for seed in range(200))
    # Each of ten is drawn first 20 times on average, standard deviation 4.2.
    assert len(firsts) == 10
    assert all(3 < count < 40 for count in firsts.values())


@pytest.mark.parametrize(
    ("spec", "name", "split"),
    [
        ("ultrafeedback:train?train=10", "HuggingFaceH4/ultrafeedback_binarized", "train_prefs"),
        ("ultrafeedback:test?test=10", "HuggingFaceH4/ultrafeedback_binarized", "test_prefs"),
    ],
)
def test_ultrafeedback_from_the_hub(spec, name, split, monkeypatch):
    def load_dataset(asked, split):
        assert (asked, split) == (name, expected)
        return datasets.Dataset.from_list(KEPT)

    expected = split
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert {texts(record) for record in load(f"{spec}&tokenizer=none")} == contents(KEPT)


def test_where_the_hub_cannot_be_reached(monkeypatch):
    message = refused_by_the_hub("rewardmath:train", monkeypatch, "no network")
    assert message.startswith("RewardMATH/RewardMATH_pairwise:test: ")
    assert message.endswith("no network: name a local copy as `path=FILE_OR_FOLDER`")


def test_where_the_tokenizer_cannot_be_had(tmp_path, monkeypatch):
    def from_pretrained(name):
        assert name == "meta-llama/Llama-3.2-1B"
        raise OSError("gated\nsecond line")

    path = write_rows(tmp_path / "train.jsonl", KEPT)
    with monkeypatch.context() as patched:
        patched.setattr("tokenizers.Tokenizer", type("T", (), {"from_pretrained": from_pretrained}))
        message = refused(f"ultrafeedback:train?path={path}")
    assert message.startswith("meta-llama/Llama-3.2-1B: the tokenizer of the length filter")
    assert "(gated)" in message
    assert message.endswith("`tokenizer=none` to keep every length")
    assert "cannot be loaded" in refused(f"ultrafeedback:train?path={path}&tokenizer={tmp_path}")


def copies(folder, rows, split):
    """Local copies of a data set in every form; the hub's repository has a file a split."""
    table = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({split: table, "other": table.select([0])}).save_to_disk(folder / "splits")
    table.save_to_disk(folder / "one")
    parquet.write_table(Table.from_pylist(rows), folder / "rows.parquet")
    data = folder / "repository" / "data"
    data.mkdir(parents=True)
    parquet.write_table(Table.from_pylist(rows), data / f"{split}-00000-of-00001.parquet")
    (folder / "repository" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        f"  - split: {split}\n    path: data/{split}-*\n---\n"
    )
    (folder / "array.json").write_text(json.dumps(rows))
    write_rows(folder / "rows.jsonl", rows)
    return ["splits", "one", "rows.parquet", "repository", "array.json", "rows.jsonl"]


def test_every_form_of_a_local_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = [
        load(f"ultrafeedback:test?path={tmp_path / name}&tokenizer=none&test=10")
        for name in copies(tmp_path, KEPT, "test_prefs")
    ]
    assert len(found[0]) == 10
    assert all(records == found[0] for records in found)
    for name in ("splits", "repository"):
        message = refused(f"ultrafeedback:train?path={tmp_path / name}&tokenizer=none&train=10")
        assert "train_prefs" in message or "name one of its splits" in message


BROKEN = {
    "chosen text": ({"chosen": "x"}, "`chosen` must be a user's and an assistant's message"),
    "one message": (
        {"rejected": [{"role": "assistant", "content": "x"}]},
        "`rejected` must be a user's and an assistant's message",
    ),
    "no score": ({"score_chosen": None}, "`score_chosen` must be a number, not missing"),
    "score text": ({"score_rejected": "5"}, "`score_rejected` must be a number, not '5'"),
    "score flag": ({"score_rejected": True}, "`score_rejected` must be a number, not True"),
    "no prompt": ({"prompt": 7}, "`prompt` must be a string, not 7"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rows_of_ultrafeedback(change, message, tmp_path):
    path = write_rows(tmp_path / "train.jsonl", [KEPT[0], {**KEPT[1], **change}])
    found = refused(f"ultrafeedback:train?path={path}&tokenizer=none&train=1")
    assert found.startswith(f"{path}, line 2: {message}")
    assert "(columns: prompt, prompt_id, messages, chosen, score_chosen," in found


def rewardbench(number, subset):
    return {
        "prompt": f"Problem {number}",
        "chosen": f"right {number}",
        "chosen_model": "human",
        "rejected": f"wrong {number}",
        "rejected_model": "unknown",
        "subset": subset,
        "id": number,
    }


SUBSETS = ["math-prm"] * 6 + ["hep-python"] * 3 + ["hep-rust"] * 2 + ["alpacaeval-hard"] * 4
REWARDBENCH = [rewardbench(number, subset) for number, subset in enumerate(SUBSETS)]
REWARDBENCH += [{**rewardbench(90, "math-prm"), "chosen": words(512)}]


@pytest.mark.parametrize(
    ("name", "numbers"), [("rewardbench-math", range(6)), ("rewardbench-code", range(6, 11))]
)
def test_rewardbench(name, numbers, tmp_path, tokenizer, monkeypatch):
    def load_dataset(asked, split):
        assert (asked, split) == ("allenai/reward-bench", "filtered")
        return datasets.Dataset.from_list(REWARDBENCH)

    path = write_rows(tmp_path / "filtered.jsonl", REWARDBENCH)
    options = f"tokenizer={tokenizer}&test={len(numbers)}"
    records = load(f"{name}:test?path={path}&{options}")
    assert {texts(record) for record in records} == {
        (f"Problem {number}", f"right {number}", f"wrong {number}") for number in numbers
    }
    assert {record.metadata["subset"] for record in records} == {SUBSETS[each] for each in numbers}
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load(f"{name}:test?{options}") == records
    assert "lower `test`" in refused(f"{name}:test?path={path}&tokenizer=none")
    assert "valid are test" in refused(f"{name}:train?path={path}")
    assert "valid are limit, path, rate, sample, seed, shift, side, test" in refused(
        f"{name}:test?train=1"
    )


def rewardmath(problem, number):
    """The right solution has two steps; it stands first in every other row."""
    right, wrong = [f"step {problem}.", "So it is right."], [f"guess {number}"]
    first, second = (right, wrong) if number % 2 else (wrong, right)
    return {
        "problem": f"Problem {problem}",
        "answer": f"Problem {problem}",
        "eval_solution_A": first,
        "eval_solution_B": second,
        "solution_reference": "model",
        "chosen_position": "A" if number % 2 else "B",
        "problem_id": problem,
        "id": number,
    }


REWARDMATH = [rewardmath(number // 9, number) for number in range(270)]


@pytest.fixture
def math_file(tmp_path):
    path = tmp_path / "pairwise.json"
    path.write_text(json.dumps(REWARDMATH, indent=1))
    return path


def test_rewardmath(math_file):
    spec = f"rewardmath:{{}}?path={math_file}&tokenizer=none&train=200&test=40"
    train, test = load(spec.format("train")), load(spec.format("test"))
    assert (len(train), len(test)) == (200, 40)
    rows = {texts(record) for record in train + test}
    assert len(rows) == 240
    assert rows <= {
        (f"Problem {n // 9}", f"step {n // 9}. So it is right.", f"guess {n}") for n in range(270)
    }
    assert load(spec.format("train").replace("train=200", "train=20")) == train[:20]
    assert load(spec.format("test").replace("train=200", "train=20")) == test


def test_rewardmath_with_disjoint_prompts(math_file):
    spec = f"rewardmath:{{}}?path={math_file}&tokenizer=none&train=60&test=20"
    prompts = {
        option: [
            {texts(record)[0] for record in load(spec.format(part) + option)} for part in PARTS
        ]
        for option in ("", "&disjoint=1")
    }
    train, test = prompts["&disjoint=1"]
    assert train.isdisjoint(test)
    assert test == prompts[""][1]
    assert not prompts[""][0].isdisjoint(test)
    few = refused(spec.format("train").replace("train=60", "train=200") + "&disjoint=1")
    assert "200 training and 20 test pairs were asked for, but only 270 pass" in few


PARTS = ("train", "test")


def test_rewardmath_has_too_few_pairs(math_file):
    assert "lower `train` or `test`" in refused(f"rewardmath:test?path={math_file}&tokenizer=none")
    assert len(load(f"rewardmath:train?path={math_file}&tokenizer=none&train=270&test=0")) == 270


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_position": "C"}, "`chosen_position` must be A or B, not 'C'"),
        ({"eval_solution_B": "text"}, "`eval_solution_B` must be a list of strings, not 'text'"),
        ({"problem": None}, "`problem` must be a string, not missing"),
    ],
)
def test_broken_rows_of_rewardmath(change, message, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [REWARDMATH[0], {**REWARDMATH[1], **change}])
    found = refused(f"rewardmath:train?path={path}&tokenizer=none&train=1&test=1")
    assert found.startswith(f"{path}, line 2: {message}")


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs the shared data")
def test_real_text_comes_through_unchanged(tmp_path):
    """The paper's own test sets, put back among other subsets, are found again whole."""
    shared = Path(os.environ["REWARDGAP_SHARED"])
    files = {"math-prm": "rewardbench_math_test", "hep-java": "rewardbench_code_test"}
    expected = {subset: load(str(shared / "data" / f"{files[subset]}.jsonl")) for subset in files}
    rows = [
        dict(zip(("prompt", "chosen", "rejected"), texts(record), strict=True), subset=subset)
        for subset, records in expected.items()
        for record in records
    ]
    path = write_rows(tmp_path / "filtered.jsonl", rows)
    tokenizer = shared / "models" / "chat-4m"
    for name, subset in (("rewardbench-math", "math-prm"), ("rewardbench-code", "hep-java")):
        found = load(f"{name}:test?path={path}&tokenizer=none")
        assert {texts(each) for each in found} == {texts(each) for each in expected[subset]}
        short = load(f"{name}:test?path={path}&tokenizer={tokenizer}&test=20")
        assert {texts(each) for each in short} <= {texts(each) for each in found}


def test_prepared_ultrafeedback_pairs_are_cleaned_in_their_order(tmp_path):
    def row(prompt, chosen, rejected):
        scores = {"score_chosen": chosen, "score_rejected": rejected}
        return {"prompt": prompt, "chosen": "yes", "rejected": "no", **scores}

    rows = [row("z", 3, 1), row("a", 2, 2), row("Translate b", 3, 1), row("a", 2.5, 2)]
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    assert [texts(each)[0] for each in load(f"ultrafeedback:pairs?path={path}")] == ["z", "a"]
    assert len(load(f"ultrafeedback:pairs?path={path}&limit=1")) == 1
    assert "name them as ultrafeedback:pairs?path=FILE" in refused("ultrafeedback:pairs")
