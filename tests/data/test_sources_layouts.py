"""Layouts that users bring: RewardBench 2, RM-Bench, winner labels, scored lists."""

import json
import logging
from itertools import combinations

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import Table, parquet
from refusals import refused
from toy import write_rows

from rewardgap.data.load import load
from rewardgap.data.sources.layouts import all_pairs


def texts(responses):
    return [" | ".join(message.content for message in response) for response in responses]


def rewardbench_2(name, chosen, rejected, subset="Math"):
    return {
        "id": name,
        "prompt": f"Prompt of {name}",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["m"] * (len(chosen) + len(rejected)),
        "subset": subset,
        "additional_metadata": {"category": None, "index": 1.0},
    }


REWARDBENCH_2 = [
    rewardbench_2("7", ["yes"], ["no", "maybe", "never"]),
    rewardbench_2("tied:3", ["red", "green"], ["mud", "loud", "seven"], "Ties"),
    rewardbench_2("7", ["1"], ["2", "3", "4"], "Focus"),
]


def test_rewardbench_2(tmp_path, monkeypatch):
    def load_dataset(name, split):
        assert (name, split) == ("allenai/reward-bench-2", "test")
        return datasets.Dataset.from_list(REWARDBENCH_2)

    path = tmp_path / "test.parquet"
    parquet.write_table(Table.from_pylist(REWARDBENCH_2), path)
    records = load(f"rewardbench-2:test?path={path}")
    assert [texts(record.chosen) for record in records] == [["yes"], ["red", "green"], ["1"]]
    assert texts(records[1].rejected) == ["mud", "loud", "seven"]
    assert [record.id for record in records] == ["7", "tied:3", "7-2"]
    assert [record.metadata["subset"] for record in records] == ["Math", "Ties", "Focus"]
    assert records[1].metadata["num_correct"] == 2
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("rewardbench-2:test") == records


def test_broken_rows_of_rewardbench_2(tmp_path):
    path = write_rows(
        tmp_path / "a.jsonl", [REWARDBENCH_2[0], {**REWARDBENCH_2[1], "chosen": "red"}]
    )
    message = refused(f"rewardbench-2:test?path={path}")
    assert message.startswith(f"{path}, line 2: `chosen` must be a list of strings, not 'red'")
    path = write_rows(tmp_path / "b.jsonl", [{**REWARDBENCH_2[0], "rejected": ["x", 3]}])
    assert "`rejected` must be a list of strings, not ['x', 3]" in refused(
        f"rewardbench-2:test?path={path}"
    )
    path = write_rows(tmp_path / "c.jsonl", [{"prompt": "p", "chosen": ["a"], "rejected": ["b"]}])
    assert "`subset` must be a string, not missing" in refused(f"rewardbench-2:test?path={path}")


def rm_bench(name, domain):
    sides = {
        side: [f"{side} {domain} {style}" for style in ("short", "long", "**long**")]
        for side in ("chosen", "rejected")
    }
    return {"id": name, "prompt": f"{domain} {name}", **sides, "domain": domain}


RM_BENCH = [
    rm_bench(8, "chat"),
    rm_bench(8, "code"),
    rm_bench("8", "math"),
    rm_bench(8, "safety-refuse"),
    rm_bench(8, "safety-response"),
    {**rm_bench(8, "math"), "prompt": "another"},
]
DOMAINS = {
    "total": ["chat-8", "code-8", "math-8", "safety-refuse-8", "safety-response-8", "math-8-2"],
    "chat": ["chat-8"],
    "code": ["code-8"],
    "math": ["math-8", "math-8-2"],
    "safety": ["safety-refuse-8", "safety-response-8"],
}


@pytest.mark.parametrize("part", DOMAINS)
def test_rm_bench(part, tmp_path, monkeypatch):
    def load_dataset(name, split):
        assert (name, split) == ("THU-KEG/RM-Bench", "train")
        return datasets.Dataset.from_list([{**row, "id": str(row["id"])} for row in RM_BENCH])

    path = tmp_path / "total_dataset.json"
    path.write_text(json.dumps(RM_BENCH, indent=4))
    records = load(f"rm-bench:{part}?path={path}")
    assert [record.id for record in records] == DOMAINS[part]
    domain = records[0].metadata["domain"]
    assert texts(records[0].chosen) == [
        f"chosen {domain} {style}" for style in ("short", "long", "**long**")
    ]
    assert texts(records[0].rejected)[2] == f"rejected {domain} **long**"
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load(f"rm-bench:{part}") == records


def test_broken_rows_of_rm_bench(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [RM_BENCH[0], {**RM_BENCH[1], "rejected": ["a", "b"]}])
    assert f"{path}, line 2: `rejected` must be a list of 3 strings, one per style" in refused(
        f"rm-bench:total?path={path}"
    )
    path = write_rows(tmp_path / "b.jsonl", [{**RM_BENCH[0], "domain": None}])
    assert "`domain` must be a string, not missing" in refused(f"rm-bench:chat?path={path}")
    path = write_rows(tmp_path / "c.jsonl", [{**RM_BENCH[0], "id": None}])
    assert len(load(f"rm-bench:chat?path={path}")[0].id) == 16


def winner(label, **changes):
    return {"prompt": "Which?", "response_a": "A!", "response_b": "B!", "winner": label, **changes}


def test_winners(tmp_path, caplog):
    labels = ["a", "B", "model_a", "Model_B", " A ", "tie", "tie (bothbad)", "both_bad"]
    path = write_rows(tmp_path / "rows.jsonl", [winner(each, judge="j", n=2) for each in labels])
    with caplog.at_level(logging.WARNING):
        records = load(f"winners:rows?path={path}")
    assert [texts(record.chosen)[0] for record in records] == ["A!", "B!", "A!", "B!", "A!"]
    assert [texts(record.rejected)[0] for record in records] == ["B!", "A!", "B!", "A!", "B!"]
    assert records[0].metadata == {"judge": "j", "n": 2, "winner": "a"}
    assert f"{path}: rows left out without a winner: 3" in caplog.text


def said(role, content):
    return {"role": role, "content": content, "num_tokens": 3}


def in_parts(content):
    return [{"type": "text", "text": content, "image": None, "mimeType": None}]


@pytest.mark.parametrize("wrap", [str, in_parts], ids=["text", "parts"])
def test_conversations_of_an_arena(wrap, tmp_path):
    user, first, second = said("user", wrap("Hi")), said("assistant", wrap("1")), wrap("2")
    turns = [said("user", wrap("More?")), said("assistant", wrap("3"))]
    row = {
        "id": "x",
        "model_a": "m",
        "winner": "model_b",
        "conversation_a": [user, first, *turns],
        "conversation_b": [user, said("assistant", second), *turns],
        "full_conversation": [{"user": user}],
        "prompt": None,
    }
    path = tmp_path / "arena.parquet"
    parquet.write_table(Table.from_pylist([row]), path)
    (record,) = load(f"winners:rows?path={path}")
    assert record.id == "x"
    assert texts([record.prompt]) == ["Hi"]
    assert texts(record.chosen) == ["2 | More? | 3"]
    assert texts(record.rejected) == ["1 | More? | 3"]
    assert record.metadata == {"model_a": "m", "winner": "model_b"}


def test_winners_from_the_hub(monkeypatch):
    def load_dataset(name, split):
        return datasets.Dataset.from_list([winner("a" if split == "train" else "b")])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert texts(load("winners:rows?path=organisation/arena")[0].chosen) == ["A!"]
    assert texts(load("winners:rows?path=organisation/arena:test")[0].chosen) == ["B!"]


IMAGE = [{"role": "user", "content": [{"type": "image", "text": None}]}]
BROKEN_WINNERS = {
    "label": (winner("c"), "`winner` must be one of a, model_a, b, model_b, tie,"),
    "no label": (winner(None), "`winner` must be a string, not missing"),
    "answer": (winner("a", response_b=None), "`response_b` must be a string, not missing"),
    "empty": (winner("a", response_a=" "), "`chosen` has an empty response"),
    "prompt": (winner("a", prompt=None), "`prompt` is missing"),
    "messages": (
        {"conversation_a": "Hi", "conversation_b": [], "winner": "a"},
        "`conversation_a` must be a list of text messages {role, content}, not 'Hi'",
    ),
    "image": (
        {"conversation_a": IMAGE, "conversation_b": IMAGE, "winner": "b"},
        "`conversation_a` must be a list of text messages {role, content}, not with images",
    ),
    "half": ({"conversation_a": [said("user", "Hi")], "winner": "b"}, "`conversation_b` must be"),
}


@pytest.mark.parametrize(("row", "message"), BROKEN_WINNERS.values(), ids=BROKEN_WINNERS.keys())
def test_broken_rows_of_winners(row, message, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [winner("tie"), row])
    assert refused(f"winners:rows?path={path}").startswith(f"{path}, line 2: {message}")


@pytest.mark.parametrize("spec", ["winners:rows", "scored:best-worst"])
def test_sources_of_your_own_data_need_a_path(spec):
    assert refused(spec).endswith(f"name them as {spec}?path=FILE")
    assert refused(f"{spec}?path=rows.jsonl?limit=3").endswith("join options by `&`")
    assert refused(f"{spec}?path=rows.jsonl") == "rows.jsonl: no such file"
    assert "neither an existing path" in refused(f"{spec}?path=rows")


SCORED = [
    {"prompt": "p", "responses": ["a", "b", "c", "d", "e"], "scores": [1, 3.5, 3.5, 1, 2]},
    {"prompt": "q", "responses": ["f", "g"], "scores": [1, 1.0], "id": "flat"},
    {"prompt": "r", "responses": ["h", "i", "j"], "scores": [-1, 0, 5], "id": 4, "judge": "x"},
]


def contests(records):
    return [(texts(record.chosen), texts(record.rejected)) for record in records]


def test_best_against_worst(tmp_path, caplog):
    path = write_rows(tmp_path / "rows.jsonl", SCORED)
    with caplog.at_level(logging.WARNING):
        records = load(f"scored:best-worst?path={path}")
    assert contests(records) == [(["b"], ["a"]), (["j"], ["h"])]
    assert all(record.is_pair for record in records)
    assert records[1].id == "4"
    assert records[1].metadata == {"judge": "x"}
    assert "rows left out whose scores are all equal: 1" in caplog.text


def test_all_pairs(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", SCORED)
    records = load(f"scored:all-pairs?path={path}")
    assert contests(records) == [
        (["b", "c"], ["e", "a", "d"]),
        (["e"], ["a", "d"]),
        (["j"], ["i", "h"]),
        (["i"], ["h"]),
    ]
    assert [record.id for record in records[2:]] == ["4", "4/2"]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=8).filter(lambda all: len(set(all)) > 1))
def test_all_pairs_are_those_of_unequal_scores_each_once(scores):
    levels = [
        [f"{index}" for index, score in enumerate(scores) if score == level]
        for level in sorted(set(scores), reverse=True)
    ]
    found = [
        (int(winner), int(loser))
        for chosen, rejected in all_pairs(levels)
        for winner in chosen
        for loser in rejected
    ]
    expected = {
        (one, two) if scores[one] > scores[two] else (two, one)
        for one, two in combinations(range(len(scores)), 2)
        if scores[one] != scores[two]
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


BROKEN_SCORED = {
    "count": ({"scores": [1, 2]}, "3 `responses` and 2 `scores`: give every response a score"),
    "text": ({"scores": [1, 2, "3"]}, "`scores` must be a list of numbers, not [1, 2, '3']"),
    "nan": (
        {"scores": [1, 2, float("nan")]},
        "`scores` must be a list of numbers, not [1, 2, nan]",
    ),
    "none": ({"responses": None}, "`responses` must be a list of strings, not missing"),
    "messages": ({"responses": [1, 2, 3]}, "`responses` must be a list of strings, not [1, 2, 3]"),
    "prompt": ({"prompt": None}, "`prompt` is missing"),
    "twice": ({"responses": ["h", "i", "h"]}, "the same response is both chosen and rejected"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN_SCORED.values(), ids=BROKEN_SCORED.keys())
def test_broken_rows_of_scored(change, message, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [SCORED[0], {**SCORED[2], **change}])
    assert refused(f"scored:best-worst?path={path}").startswith(f"{path}, line 2: {message}")
