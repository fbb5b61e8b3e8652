import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow, read_scores, score_row, write_scores

PAIR = ScoreRow(
    "a", (0.5,), (-1.0,), (12,), (9,), True, {"bag_of_words": ((0.1,), (1 / 3,))}
)  # fmt: skip
SEVERAL = ScoreRow(
    "b", (1.0,), (2.0, -0.0, 1e-300), (3,), (4, 5, 6), prompt="9f86d081", responses="1c8b"
)

rewards = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3)


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_layout_numbers_for_a_pair_and_lists_for_several_responses(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.jsonl", [PAIR, SEVERAL])
    lines = (tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "id": "a",
        "scores_chosen": 0.5,
        "scores_rejected": -1.0,
        "tokens_chosen": 12,
        "tokens_rejected": 9,
        "truncated": True,
        "baselines": {"bag_of_words": {"chosen": 0.1, "rejected": 1 / 3}},
    }
    assert json.loads(lines[1]) == {
        "id": "b",
        "scores_chosen": [1.0],
        "scores_rejected": [2.0, 0.0, 1e-300],
        "tokens_chosen": [3],
        "tokens_rejected": [4, 5, 6],
        "truncated": False,
        "prompt": "9f86d081",
        "responses": "1c8b",
    }


@settings(max_examples=30, deadline=None)  # waits for the disk
@given(st.dictionaries(st.text(), st.tuples(rewards, rewards, st.booleans()), min_size=1))
def test_rows_survive_the_file_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    records: dict[str, tuple[list[float], list[float], bool]],
) -> None:
    rows = [
        ScoreRow(id, tuple(chosen), tuple(rejected), truncated=truncated)
        for id, (chosen, rejected, truncated) in records.items()
    ]
    path = tmp_path_factory.mktemp("scores") / "scores.jsonl"
    write_scores(path, rows)
    assert repr(read_scores(path)) == repr(rows)  # repr tells -0.0 from 0.0


def test_tokens_and_baselines_survive_the_file(tmp_path: Path) -> None:
    write_scores(tmp_path / "deep" / "scores.jsonl", [PAIR, SEVERAL])
    assert read_scores(tmp_path / "deep" / "scores.jsonl") == [PAIR, SEVERAL]


def test_other_tools_files_need_only_id_and_scores(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "other.jsonl",
        {"id": 7, "scores_chosen": 1, "scores_rejected": [0.5], "subset": "math", "prompt": None},
    )
    assert read_scores(path) == [ScoreRow("7", (1.0,), (0.5,), subset="math")]


def test_blank_lines_are_skipped_and_line_separators_inside_ids_are_not_line_ends(
    tmp_path: Path,
) -> None:
    row = ScoreRow("one\u2028id", (1.0,), (0.0,))
    write_scores(tmp_path / "scores.jsonl", [row])
    with (tmp_path / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n  \n")
    assert read_scores(tmp_path / "scores.jsonl") == [row]


GOOD = {"id": "x", "scores_chosen": 1.0, "scores_rejected": 0.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores_chosen": None}, ["'scores_chosen'", "number", "None"]),
        ({"scores_chosen": "1.0"}, ["'scores_chosen'", "'1.0'"]),
        ({"scores_chosen": True}, ["'scores_chosen'", "True"]),
        ({"scores_chosen": []}, ["'x'", "scores_chosen", "empty"]),
        ({"scores_chosen": float("nan")}, ["'x'", "scores_chosen", "nan"]),
        ({"scores_rejected": [0.0, float("-inf")]}, ["'x'", "scores_rejected", "-inf"]),
        ({"scores_rejected": 10**400}, ["too large"]),
        ({"tokens_chosen": 3}, ["'tokens_rejected'", "missing"]),
        ({"tokens_chosen": 3, "tokens_rejected": 2.5}, ["'tokens_rejected'", "2.5"]),
        ({"tokens_chosen": 10**400, "tokens_rejected": 2}, ["'tokens_chosen'", "not 1000"]),
        ({"tokens_chosen": -3, "tokens_rejected": 2}, ["'tokens_chosen'", "-3"]),
        ({"tokens_chosen": [1, 2], "tokens_rejected": 2}, ["'x'", "1 scores_chosen", "2 tokens"]),
        ({"tokens_chosen": [], "tokens_rejected": 2}, ["'x'", "one of its sides"]),
        ({"id": None}, ["'id'", "NoneType"]),
        ({"truncated": "no"}, ["'truncated'", "'no'"]),
        ({"prompt": [{"role": "user"}]}, ["'prompt'", "string", "list", "leave it out"]),
        ({"baselines": []}, ["'baselines'", "list"]),
        ({"baselines": {"rule": {"chosen": 1}}}, ["'rejected'", "missing"]),
        ({"baselines": {"rule": {"chosen": [1, 2], "rejected": 3}}}, ["'x'", "'rule'", "2 chosen"]),
        ({"baselines": {"rule": {"chosen": float("nan"), "rejected": 3}}}, ["'x'", "'rule'"]),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_key(
    tmp_path: Path, change: dict[str, object], words: list[str]
) -> None:
    path = write_lines(tmp_path / "bad.jsonl", {**GOOD, "id": "good"}, {**GOOD, **change})
    with pytest.raises(UserError) as caught:
        read_scores(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(path), "line 2", *words]:
        assert word in message


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(UserError, match=f"line 1: the key '{key}' is missing"):
        read_scores(write_lines(tmp_path / "bad.jsonl", row))


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b'{"id": "a",\n', "line 1: not valid JSON"),
        (b"[1, 2]\n", "line 1: a score row must be a JSON object, not list"),
        (b"\xff\xfe", "not UTF-8"),
        (2 * (json.dumps(GOOD) + "\n").encode(), "line 2: the id 'x' occurs twice"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, pattern: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=pattern) as caught:
        read_scores(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no score file .*absent\.jsonl"):
        read_scores(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match="cannot read"):
        read_scores(tmp_path)


def test_a_row_that_diverged_cannot_be_made() -> None:
    with pytest.raises(UserError, match="record 'a': scores_rejected has the reward nan"):
        ScoreRow("a", (0.0,), (float("nan"),))


def test_a_failure_while_scoring_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    write_scores(path, [PAIR])

    def rows() -> Iterator[ScoreRow]:
        yield SEVERAL
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_scores(path, rows())
    assert read_scores(path) == [PAIR]
    assert os.listdir(tmp_path) == ["scores.jsonl"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rewardgap.io.files.os.fsync", full)
    with pytest.raises(UserError, match=r"scores\.jsonl: No space left on device"):
        write_scores(tmp_path / "scores.jsonl", [PAIR])
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot write .*scores\.jsonl"):
        write_scores(tmp_path / "run" / "scores.jsonl", [PAIR])


def test_lengths_are_those_of_the_plain_responses_however_a_kind_writes_them() -> None:
    """Six and two characters, white space at the ends left out; 3 against 9 tokens, or 9 and 3."""
    said = [(Message("assistant", text),) for text in (" Paris.\n", "No")]
    record = Record("a", (Message("user", "Where?"),), (said[0],), (said[1],), {})
    trees = [SimpleNamespace(chosen=1, lengths=n, truncated=False) for n in ((3, 9), (9, 3))]
    rows = [score_row(record, cast(Tree, tree), [0, 1], None) for tree in trees]
    assert [row.tokens_chosen for row in rows] == [(3,), (9,)]
    assert [row.baselines for row in rows] == [{"longer": ((6.0,), (2.0,))}] * 2
