"""Layouts of public data sets and other tools: which response is chosen, and what precedes it."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import ASKED, WRITERS, arena, arena_turns, numbered, rated, read, replies

from rewardgap.data.layouts import RECOGNISED

WORD = st.text("abcdefgh é猫", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=25)
@given(WORD, WORD)
def test_a_pair_written_in_any_layout_is_read_back(name, good, bad):
    write, roles = WRITERS[name]
    good, bad = f"good {good}", f"bad {bad}"
    rows = write(good, bad)
    (record,) = read(rows if isinstance(rows, list) else [rows])
    assert [message.role[0] for message in record.prompt] == list(roles)
    assert [[message.content for message in response] for response in record.chosen] == [[good]]
    assert [[message.content for message in response] for response in record.rejected] == [[bad]]
    contents = [message.content for message in record.prompt]
    assert any(text == ASKED or text.endswith("Owls fly.\n\nTL;DR:") for text in contents)
    assert "Good evening." in contents or "a" not in roles


def test_every_recognised_layout_is_written_above():
    names = {name.split()[0] for name in WRITERS}
    assert set(RECOGNISED) - names == {"rm-bench"}  # a grid of styles, below


@pytest.mark.parametrize("name", [name for name in RECOGNISED if name in WRITERS])
def test_a_layout_is_recognised_and_no_other_one_is(name):
    rows = WRITERS[name][0]("good", "bad")
    for row in rows if isinstance(rows, list) else [rows]:
        columns = frozenset(key for key, value in row.items() if value is not None)
        matching = {key for key, layout in RECOGNISED.items() if layout.matches(row, columns)}
        assert matching == {name}


TIES = {
    "arena": {**arena("a", "b"), "winner": "tie (bothbad)"},
    "arena-turns": {**arena_turns("a", "b"), "winner_model_b": 0, "winner_tie": 1},
    "ppe-human": numbered("a", "b", winner="tie"),
    "ppe-correctness": numbered("a", "b", scores=[True, True]),
    "helpsteer2-preference": numbered("a", "b", preference_strength=0),
    "helpsteer3": {**WRITERS["helpsteer3"][0]("a", "b"), "overall_preference": 0},
    "judgebench": {**WRITERS["judgebench"][0]("a", "b"), "label": "A=B"},
    "webgpt": {**WRITERS["webgpt"][0]("a", "b"), "score_1": -0.5},
    "stack-exchange": {
        "question": ASKED,
        "answers": [{"text": "a", "pm_score": 1}, {"text": "b", "pm_score": 1}],
    },
    "helpsteer2": rated("a", "b")[0],
}


@pytest.mark.parametrize("name", TIES)
def test_ties_are_left_out_and_counted(name, caplog):
    rows = WRITERS[name][0]("good", "bad")
    rows = [TIES[name], *(rows if isinstance(rows, list) else [rows])]
    if name == "helpsteer2":
        rows[0] = {**rows[0], "prompt": "Another prompt with one response"}
    with caplog.at_level(logging.WARNING):
        assert len(read(rows)) == 1
    assert "f.jsonl: rows left out without a preference: 1" in caplog.text


def test_every_pair_of_unequal_scores_is_compared():
    row = {
        "question": ASKED,
        "answers": [
            {"text": text, "pm_score": score} for text, score in zip("abc", (1, 5, 3), strict=True)
        ],
        "id": "q",
    }
    records = read([row])
    found = [
        (record.id, [y[0].content for y in record.chosen], [y[0].content for y in record.rejected])
        for record in records
    ]
    assert found == [("q", ["b"], ["c", "a"]), ("q/2", ["c"], ["a"])]


def test_a_tree_compares_the_replies_to_every_prompt():
    row = replies("good", "bad")
    best = row["prompt"]["replies"][2]
    best["replies"] = [{"text": "Which?", "role": "prompter", "replies": [
        {"text": "third", "role": "assistant", "rank": 2},
        {"text": "first", "role": "assistant", "rank": 0},
        {"text": "gone", "role": "assistant", "rank": 1, "deleted": True},
    ]}]  # fmt: skip
    first, second = read([row])
    assert [message.content for message in second.prompt] == [ASKED, "good", "Which?"]
    assert second.chosen[0][0].content == "first"
    assert [response[0].content for response in second.rejected] == ["third"]
    assert first.chosen[0][0].content == "good"


def test_system_prompts_of_completions_that_differ_are_not_the_records():
    row = WRITERS["ultrafeedback"][0]("good", "bad")
    row["completions"][0]["custom_system_prompt"] = "Be honest."
    assert [message.role for message in read([row])[0].prompt] == ["user"]


def test_turns_of_an_arena():
    row = {
        **arena_turns("x", "y"),
        "prompt": '["Hi", "More?"]',
        "response_a": '["one", "two"]',
        "response_b": '["one", "three"]',
    }
    (record,) = read([row])
    assert [message.content for message in record.prompt] == ["Hi", "one", "More?"]
    assert record.chosen[0][0].content == "three"


def test_ids_of_a_published_data_set_repeat():
    rows = [WRITERS["tulu3"][0](good, "bad") for good in ("good", "better")]
    assert [record.id for record in read(rows)] == ["same", "same-2"]
