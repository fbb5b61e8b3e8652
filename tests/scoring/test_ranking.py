"""Ranking: the order of responses, the best of them, and rows that belong to one prompt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import read_rows, train_toy, write_rows

import rewardgap
from rewardgap.cli import main
from rewardgap.data.load import load as load_records
from rewardgap.errors import UserError
from rewardgap.scoring.ranking import join_prompts, ranked_row

ANSWERS = ["no, never", "yes, sure", "perhaps", "yes, certainly"]
ROWS = [
    {"id": "several", "prompt": "is it so?", "responses": ANSWERS},
    {"id": "one", "prompt": "hi", "response": "yes"},
    {"id": "turns", "prompt": [{"role": "user", "content": "hi"}], "responses": ["no", "yes"]},
    {"id": "two", "prompt": "really?", "response": "no"},
    {"prompt": "hi", "response": "no, not really"},
    {"id": "labelled", "prompt": "so?", "chosen": "yes, sure", "rejected": ["no", "never"]},
]


@pytest.fixture(scope="module")
def run(folders: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_toy(tmp_path_factory.mktemp("run"), folders("llama"), eval={}).folder


def ranked(folder: Path, run: Path, *words: str) -> list[dict[str, object]]:
    data, out = write_rows(folder / "data.jsonl", ROWS), folder / "ranked.jsonl"
    arguments = ["rank", str(run), "--data", data, "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--cache", str(folder / "cache"), "--overwrite", *words]) == 0
    return read_rows(out)


def test_responses_are_in_the_order_of_the_rewards_that_the_scorer_gives(run, tmp_path):
    scorer = rewardgap.load(str(run), device="cpu")
    rows = ranked(tmp_path, run)
    assert [row["id"] for row in rows] == ["several", "one", "turns", "two", "labelled"]
    given = [
        ANSWERS,
        ["yes", "no, not really"],
        ["no", "yes"],
        ["no"],
        ["yes, sure", "no", "never"],
    ]
    for row, responses in zip(rows, given, strict=True):
        assert row["responses"] == [responses[i] for i in row["order"]]
        rewards = scorer.score(row["prompt"], row["responses"])
        assert row["rewards"] == pytest.approx(rewards, abs=1e-6)
        assert row["rewards"] == sorted(row["rewards"], reverse=True)
        assert scorer.best(row["prompt"], responses) == responses[row["best"]]
    assert rows[0]["responses"][0].startswith("yes")  # as the toy data teach


def test_only_the_best_are_written(run, tmp_path):
    whole, (first, *_) = ranked(tmp_path, run), ranked(tmp_path, run, "--top", "1")
    assert [first["responses"], first["best"]] == [whole[0]["responses"][:1], whole[0]["best"]]
    assert len(first["rewards"]) == len(first["order"]) == 1


def test_equal_rewards_keep_the_order_of_the_data(tmp_path):
    data = write_rows(tmp_path / "data.jsonl", ROWS)
    record = load_records(data, unlabelled=True)[0]
    assert ranked_row(record, [0.0, 1.0, -1.0, 1.0], None)["order"] == [1, 3, 0, 2]
    with pytest.raises(UserError, match="'several': a response has the reward nan"):
        ranked_row(record, [0.0, float("nan"), 0.0, 0.0], None)


def test_another_system_prompt_is_another_prompt(tmp_path):
    row = {"prompt": "hi", "response": "yes"}
    rows = [row, {**row, "system": "Be short."}, {**row, "response": "no"}]
    records = join_prompts(load_records(write_rows(tmp_path / "data.jsonl", rows), unlabelled=True))
    assert [len(record.responses) for record in records] == [2, 1]


def test_mistakes(run, tmp_path, capsys):
    scorer = rewardgap.load(str(run), device="cpu")
    for wrong in ([], "yes"):
        with pytest.raises(UserError, match="best needs a list of at least one response"):
            scorer.best("hi", wrong)
    arguments = ["rank", str(run), "--data", "absent.jsonl", "--out", str(tmp_path / "out.jsonl")]
    assert main(arguments) == 2
    assert main(["rank", str(run), "--data", write_rows(tmp_path / "d", ROWS), "--top", "0"]) == 2
    errors = capsys.readouterr().err
    assert "absent.jsonl" in errors and "out" in errors
    assert not list(tmp_path.glob("out*"))


def test_rows_are_json_without_squashed_rewards(run, tmp_path):
    text = json.dumps(ranked(tmp_path, run))
    assert "NaN" not in text and "Infinity" not in text
