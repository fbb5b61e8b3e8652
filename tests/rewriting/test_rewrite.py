"""Rewriting, against a server of the tests' own that misbehaves."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Server, misbehaving
from toy import pair_rows, read_rows, write_rows

import rewardgap
from rewardgap.cli import main
from rewardgap.data.load import load
from rewardgap.errors import UserError
from rewardgap.rewriting.rewrite import RewriteResult

KEY = "sk-secret-1234567890"
ONCE = ("busy", "broken_server", "stalled", "json", "shape", "surrogate", "cut", "cut_body")
"""Faults of requests, which are repeated."""
GATES = {"empty": "empty", "silent": "empty", "long": "truncated", "filtered": "refused"}
GATES |= {"same": "unchanged"}
"""Faults of answers, after which another attempt is made with another seed."""


@pytest.fixture
def server() -> Iterator[Server]:
    with misbehaving() as started:
        yield started


@pytest.fixture
def rewrite(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rewrites rows as told by keywords; returns the result."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-endpoint")

    def run(rows: list[dict[str, Any]], **changes: Any) -> RewriteResult:
        settings = {"instruction": "Say indeed before it.", "model": "big", "endpoint": server.url}
        settings |= {"timeout": 0.4, "cache": tmp_path / "cache", "out": tmp_path / "out.jsonl"}
        settings |= {"data": write_rows(tmp_path / "in.jsonl", rows), "concurrency": 32}
        return rewardgap.rewrite(**settings | changes)

    return run


def rows_of(faults: Any) -> list[dict[str, Any]]:
    return [
        {"id": fault, "prompt": "q", "chosen": f"{fault}: yes {fault}", "rejected": "none: no"}
        for fault in faults
    ]


def content(folder: Path) -> str:
    files = (path for path in folder.rglob("*") if path.is_file())
    return "".join(path.read_text(encoding="utf-8") for path in files)


def test_all_that_can_go_wrong_and_a_second_run_asks_nothing(server, rewrite, tmp_path, capsys):
    rows = rows_of(["none", "thinks", *ONCE, *GATES, "refused", "bad"])
    result = rewrite(rows, api_key_env="MY_KEY", input_price=10.0, output_price=100.0)
    kept = [row for row in rows if row["id"] not in ("refused", "bad")]
    written = read_rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in written] == [row["id"] for row in kept]
    for before, after in zip(kept, written, strict=True):
        assert after["prompt"] == "q" and after["rejected"] == "indeed, no"
        assert after["chosen"] == "indeed, " + before["chosen"].partition(": ")[2]
    lost = {row["record"]: row["reason"] for row in read_rows(tmp_path / "out.jsonl.dropped.jsonl")}
    assert set(lost) == {"refused", "bad"} and "I'm sorry" in lost["refused"]
    assert "400" in lost["bad"] and "the prompt is too long" in lost["bad"]
    seen = server.seen
    assert all(seen[f"{fault}: yes {fault}"] == 2 for fault in (*ONCE, *GATES))
    assert seen["none: no"] == seen["none: yes none"] == seen["bad: yes bad"] == 1
    assert seen["refused: yes refused"] == 3  # attempts
    first, second = server.times["busy: yes busy"]
    assert second - first >= 1  # Retry-After
    seeds = [b["seed"] for b in server.bodies if "long: yes" in b["messages"][0]["content"]]
    assert seeds == [0, 1]
    figures = json.loads((tmp_path / "out.jsonl.rewriting.json").read_text())
    assert {**figures, "out": str(tmp_path / "out.jsonl")} == result.figures
    answers = len(rows) + 1 - 1 + len(GATES) + 2  # of the texts but "bad", and of further attempts
    assert figures["versions"] == {"big-2026-01 fp_1": answers}
    price = answers * (7 * 10 + 5 * 100) / 1e6
    tokens = {"tokens_read": 7 * answers, "tokens_written": 5 * answers}
    assert figures["new"] == {"answers": answers, **tokens, "price": pytest.approx(price)}
    faults = {"empty": 2, "truncated": 1, "refused": 4, "unchanged": 1, "no answer": 1}
    assert figures["faults"] == faults and figures["left_out"] == 2
    asked = seen.total()
    again = rewrite(rows, api_key_env="MY_KEY", overwrite=True)
    assert server.seen.total() == asked + 1  # "bad", which was not answered
    assert again.figures["new"]["answers"] == 0 and again.figures["cached"]["answers"] == answers
    assert read_rows(tmp_path / "out.jsonl") == written
    assert server.keys == {f"Bearer {KEY}"} and KEY not in content(tmp_path) + str(result)
    assert KEY not in "".join(capsys.readouterr())


def test_a_run_that_is_cut_loses_no_answer(server, rewrite, tmp_path):
    rows = pair_rows(6)
    server.answers_left = 3
    with pytest.raises(
        UserError, match=r"gives no answers: .*401.*bad key Bearer ….*3 new answers"
    ):
        rewrite(rows, concurrency=1, api_key_env="MY_KEY")
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "cache"}
    texts = {row[side] for row in rows for side in ("chosen", "rejected")}
    assert server.seen.total() == 4 and KEY not in content(tmp_path)
    server.answers_left = 100
    result = rewrite(rows, concurrency=1, api_key_env="MY_KEY")
    assert server.seen.total() == 4 + len(texts) - 3
    assert [record.id for record in load(str(result.out))] == [row["id"] for row in rows]


def test_records_of_any_shape_keep_theirs(server, rewrite, tmp_path):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
    turns = [call, {"role": "tool", "content": "it is 4"}, {"role": "assistant", "content": "four"}]
    rows = [
        {"id": "a", "system": "be", "prompt": "q", "chosen": turns, "rejected": "five", "score": 2},
        {"id": "b", "prompt": "q", "chosen": ["one", "two"], "rejected": ["three"], "tools": [{}]},
        {"id": "c", "prompt": [{"role": "user", "content": "q"}], "responses": ["six", "seven"]},
        {"id": "same", "prompt": "q", "chosen": "eight", "rejected": "Eight."},
    ]
    result = rewrite(
        rows, request={"top_p": 0.5}, send_seed=False, max_tokens=9, allow=["unchanged"]
    )
    before = load(str(tmp_path / "in.jsonl"), unlabelled=True)[:3]
    after = load(str(result.out), unlabelled=True)
    for old, new in zip(before, after, strict=True):
        assert (new.id, new.prompt) == (old.id, old.prompt)
        assert new.template_arguments == old.template_arguments
        assert new.metadata == {**old.metadata, "overlap": new.metadata["overlap"]}
        for turns_before, turns_after in zip(old.responses, new.responses, strict=True):
            for one, other in zip(turns_before, turns_after, strict=True):
                said = (
                    f"indeed, {one.content}"
                    if one.role == "assistant" and one.content
                    else one.content
                )
                assert (other.role, other.content, other.further) == (one.role, said, one.further)
    assert (after[1].chosen, len(after[1].rejected)) != (before[1].chosen, 2)
    assert server.keys == {"Bearer none"}  # the key of another endpoint stays here
    assert all(body["top_p"] == 0.5 and body["max_tokens"] == 9 for body in server.bodies)
    assert not any("seed" in body for body in server.bodies)


def test_a_translation_that_is_none_is_noticed(server, rewrite, tmp_path):
    english = "this is a sentence that is long enough to tell in which language it is written"
    french = "ceci est une phrase assez longue pour qu'on sache dans quelle langue elle est écrite"
    rows = [
        {"id": text, "prompt": "q", "chosen": text, "rejected": "no"} for text in (english, french)
    ]
    result = rewrite(rows, instruction="french", attempts=2)
    (row,) = read_rows(tmp_path / "out.jsonl.dropped.jsonl")
    assert row["record"] == english and row["reason"] == "the answer is in English, not in French"
    assert result.figures["language"] == "french" and result.figures["faults"] == {"language": 2}
    assert result.figures["records"] == 1
    result = rewrite(rows, instruction="french", allow=["language"], overwrite=True)
    assert result.figures["records"] == 2 and not (tmp_path / "out.jsonl.dropped.jsonl").exists()


def test_a_dry_run_asks_nothing_and_prints_json(server, rewrite, tmp_path, capsys):
    rewrite(pair_rows(1))
    words = ["rewrite", write_rows(tmp_path / "more.jsonl", pair_rows(3)), str(tmp_path / "no")]
    words += ["--instruction", "Say indeed before it.", "--model", "big", "--endpoint", server.url]
    words += ["--cache", str(tmp_path / "cache"), "--dry-run", "--json", "--input-price", "2"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["texts"], figures["answers"], figures["records"]) == (5, 3, 3)
    assert figures["price"] == pytest.approx(figures["tokens_read"] * 2 / 1e6)
    assert server.seen.total() == 2 and not (tmp_path / "no").exists()


WRONG = {
    "--instruction paraphrse": "did you mean paraphrase?",
    "--instruction klingon": "such as french or spanish",
    "--instruction paraphrase --language frensh": "did you mean french?",
    "--instruction french --language german": "leave out language",
    "--instruction french --endpoint localhost:8000": "an address such as http://localhost:8000/v1",
    "--instruction french --endpoint http://me:secret@localhost/v1": "without a password",
    "--instruction french --endpoint http://example.com/v1": "no OPENAI_API_KEY: set it",
    "--instruction french --endpoint http://localhost/v1 --api-key-env NONE": "no NONE: set it",
    "--instruction french --model ./absent": "./absent does not exist",
    "--instruction french --api-key-env NONE": "name it with --endpoint",
    "--instruction french --temperature 3": "temperature must be between 0 and 2",
    "--instruction french --allow nothing": "allow must be",
    "--instruction french --endpoint http://[::1]:9/v1 --request-retries 0": "connection failed",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_one_line_and_nothing_is_written(words, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    data = write_rows(tmp_path / "in.jsonl", pair_rows(12))
    flags = words.split()
    flags += [] if "--model" in flags else ["--model", "big"]
    flags += ["--cache", str(tmp_path / "cache"), "--quiet"]
    assert main(["rewrite", data, str(tmp_path / "out.jsonl"), *flags]) == 2
    error = capsys.readouterr().err
    assert WRONG[words] in error and error.count("\n") == 1 and "secret" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_model_that_refuses_everything_and_an_earlier_result(rewrite, tmp_path):
    rows = [{"id": "a", "prompt": "q", "chosen": "refused: yes", "rejected": "refused: no"}]
    with pytest.raises(
        UserError, match=r"big rewrote no record .*refused 2.*record a: .*I'm sorry"
    ):
        rewrite(rows, temperature=0.0)  # without chance there is one attempt
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "cache"}
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UserError, match=re.escape("exists already: choose another out")):
        rewrite(rows)
    assert (tmp_path / "out.jsonl").read_text() == "mine"
