"""Layouts that are read in two ways, by name, or not at all; a table of public data sets."""

import logging
import os
from pathlib import Path

import pytest
from layouts import (
    ASKED,
    WRITERS,
    arena,
    arena_turns,
    human,
    numbered,
    place,
    read,
    sides,
    summaries,
    turn,
)
from refusals import refused
from toy import write_rows

from rewardgap.data.layouts import LAYOUTS
from rewardgap.data.layouts.recognition import in_one_layout
from rewardgap.data.load import load
from rewardgap.data.parsing import parse_record
from rewardgap.errors import UserError

STEPS = {"prompt": ASKED, "chosen": ["Step 1: go", "Step 2: see"], "rejected": ["1. no", "2. nay"]}
ECHO = {"prompt": ASKED, "chosen": ASKED + " In a tree.", "rejected": ASKED + " In a pond."}
SCORED = {"prompt": ASKED, "responses": ["a", "b"], "scores": [1, 2]}
TWO_READINGS = {
    "steps": (STEPS, "the steps of one response, or several responses: name the data as "
              "FILE?layout=steps or FILE?layout=responses"),
    "echo": (ECHO, "name the data as FILE?layout=repeated-prompt or FILE?layout=plain"),
    "scores": (SCORED, "as scored:best-worst?path=FILE or scored:all-pairs?path=FILE"),
    "columns": ({**arena("a", "b"), "prompt": ASKED, "response_1": "a", "response_2": "b",
                 "preference_strength": 1},
                "FILE?layout=arena or FILE?layout=ppe-human or FILE?layout=helpsteer2-preference"),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_READINGS)
def test_what_may_be_read_in_two_ways_is_refused(name, tmp_path):
    row, words = TWO_READINGS[name]
    path = write_rows(tmp_path / "rows.jsonl", [row])
    assert words.replace("FILE", path) in refused(path)


def test_a_reading_can_be_typed(tmp_path):
    def texts(path, layout):
        (record,) = load(f"{path}?layout={layout}")
        return [[message.content for message in y] for y in record.chosen]

    path = write_rows(tmp_path / "steps.jsonl", [STEPS])
    assert texts(path, "steps") == [["Step 1: go\nStep 2: see"]]
    assert texts(path, "responses") == [["Step 1: go"], ["Step 2: see"]]
    path = write_rows(tmp_path / "echo.jsonl", [ECHO])
    assert texts(path, "plain") == [[ASKED + " In a tree."]]
    assert texts(path, "repeated-prompt") == [["In a tree."]]
    assert f"`layout` must be one of {', '.join(LAYOUTS)}, not 'x'" in refused(f"{path}?layout=x")
    path = write_rows(tmp_path / "scored.jsonl", [SCORED])
    assert len(load(f"scored:all-pairs?path={path}")) == 1


def test_lists_of_responses_are_named_once(caplog):
    row = {"prompt": "q", "chosen": ["a", "b"], "rejected": ["c", "d"]}
    grid = {"prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "chat"}
    with caplog.at_level(logging.WARNING):
        assert len(read([row, row])) == 2
    assert caplog.text.count("lists are read as several responses") == 1
    assert "add ?layout=steps" in caplog.text
    caplog.clear()
    assert len(read([grid])[0].chosen) == 3
    assert not caplog.text


BROKEN = {
    "history": ({**WRITERS["alpaca history"][0]("a", "b"), "history": [["x"]]}, "`history` m"),
    "turns": ({**arena_turns("a", "b"), "prompt": '["x", "y"]'}, "`prompt` has 2 turns and a"),
    "null turn": ({**arena_turns("a", "b"), "response_a": "[null]"}, "a JSON list of strings"),
    "label": ({**WRITERS["judgebench"][0]("a", "b"), "label": "C"}, "`label` must be one of a>b,"),
    "labels": ({**WRITERS["shp"][0]("a", "b"), "labels": 2}, "`labels` must be 0 or 1"),
    "strength": (numbered("a", "b", preference_strength="x"), "must be a number, not 'x'"),
    "infinite": (numbered("a", "b", preference_strength=1e999), "must be a number, not inf"),
    "choice": ({**summaries("a", "b"), "choice": 2}, "`choice` must be 0 or 1"),
    "grades": (numbered("a", "b", scores=["x"]), "`scores` must be a list of numbers"),
    "few grades": (numbered("a", "b", scores=[True]), "1 `scores` and more responses"),
    "many grades": (numbered("a", "b", scores=[1, 0, 0]), "`response_3` must be a string"),
    "messages": ({"messages": [turn("user", "x")], "rejected_response": "b"}, "`messages` must be"),
    "tree": ({"message_tree_id": "t", "prompt": {"role": "prompter"}}, "`text` must be a string"),
    "ends with a human": (
        sides(human("Hi", "yes", "And?"), human("Hi", "no", "And?")),
        "`chosen` ends with a message of 'user'",
    ),
    "nothing said": (
        sides(human("Hi", "yes"), human("Hi", "")),
        "`rejected` has an empty response",
    ),
    "images": ({"prompt": "q", **sides("a", "b"), "images": ["x.png"]}, "`images` cannot be read"),
    "texts": (sides("Hi there", "Hi you"), "`prompt` is missing: add it, or give"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_one_line(name):
    row, words = BROKEN[name]
    with pytest.raises(UserError) as caught:
        read([row])
    assert str(caught.value).startswith("f.jsonl, row 1: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_row_does_not_end_the_reading():
    """What drops records that cannot be used has to get to the next row."""
    rows = [arena("good", "bad"), {**arena("a", "b"), "winner": "?"}, BROKEN["images"][0]]
    placed = list(in_one_layout(iter(place([*rows, arena("good", "bad")]))))
    assert len(placed) == 4
    for position, words in ((1, "row 2: `winner` must be"), (2, "row 3: `images` cannot be read")):
        with pytest.raises(UserError, match=words):
            parse_record(placed[position][1], placed[position][0])
    assert parse_record(placed[3][1], "x") == parse_record(placed[0][1], "x")


def test_columns_that_have_no_effect_are_named_once(caplog):
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5, "score_chosen": 3}
    with caplog.at_level(logging.WARNING):
        records = read([row, row])
    assert caplog.text.count("f.jsonl: `margin` has an effect only in train") == 1
    assert records[0].metadata == {"margin": 0.5, "score_chosen": 3}


# File, number of records, roles of the first prompt, and how the first chosen response begins;
# or words of the refusal. The first row asks for boiled eggs, "Put it in …" is right.
TABLE = {
    "arena140k": (2, "u", "Put"),
    "arena140k_image": "line 2: `conversation_a` must be a list of text messages",
    "arena33k": (2, "u", "Put"),
    "arena55k": (3, "u", "Put"),
    "argilla_clean": (3, "u", "Put"),
    "argilla_math": (3, "u", "Put"),
    "bestofn": "line 1: `responses` without labels: ",
    "capybara": (3, "uau", "Put"),
    "carper_sum": (3, "u", "TL;DR: Put"),
    "dahoas_full_hh": (3, "uau", "Put"),
    "dpo_mix": (3, "u", "Put"),
    "firstturn": (3, "uau", "Put"),
    "gpt_roles": (3, "u", "Put"),
    "h4_orca": (3, "su", "Put"),
    "h4_uf": (3, "u", "Put"),
    "h4_uf_empty": "line 2: `rejected` has an empty response",
    "helpsteer2": (3, "u", "Put"),
    "helpsteer2_pref": (2, "u", "Put"),
    "helpsteer3": (2, "uau", "Put"),
    "hh": (3, "uau", "Put"),
    "human_role_text": (3, "u", "Put"),
    "intel_orca": (3, "su", "Put"),
    "judgebench": (3, "u", "Put"),
    "lf_alpaca": (3, "u", "Put"),
    "lf_sharegpt": (3, "su", "Put"),
    "mrb_deu": (3, "u", "Put"),
    "mrb_fra": (3, "u", "Put"),
    "oasst_tasksource": (3, "u", "Put"),
    "oasst_tree": (3, "u", "Put"),
    "openbmb_uf": (3, "su", "Put"),
    "openrlhf": (3, "u", "Put"),
    "ppe_correct": (3, "u", "Put"),
    "ppe_human": (2, "u", "Put"),
    "prompt_repeated": (3, "u", "Put"),
    "prompts_only": "line 1: `chosen` is missing (keys present: prompt): add it",
    "rewardbench": (3, "u", "Put"),
    "rewardbench2": (5, "u", "Put"),
    "rlhflow": (3, "u", "Put"),
    "rmb": (3, "u", "Put"),
    "rmbench": (3, "u", "Put"),
    "sff": (3, "u", "Put"),
    "shp": (3, "u", "Put"),
    "single": "line 1: `response` without labels: ",
    "skywork": (3, "u", "Put"),
    "stackx": (3, "u", "Put"),
    "step_lists": "?layout=steps or ",
    "swift": (3, "su", "Put"),
    "trl_images": "line 1: `images` cannot be read",
    "trl_kwargs": (3, "u", "Put"),
    "trl_margin": (3, "u", "Put"),
    "trl_std_explicit": (3, "u", " Put"),
    "trl_std_implicit": "line 1: `prompt` is missing: add it",
    "trl_tools": (3, "u", "Put"),
    "trl_uf": (3, "u", "Put"),
    "truthy": (3, "su", "Put"),
    "tulu3": (3, "u", "Put"),
    "tulu3_same_id": (3, "u", "Put"),
    "ultrainteract": (3, "u", "Put"),
    "webgpt": (3, "u", "Put"),
}


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs the shared data")
@pytest.mark.parametrize("name", TABLE)
def test_layouts_of_the_table(name):
    folder = Path(os.environ["REWARDGAP_SHARED"]) / "cases" / "layouts"
    assert {path.stem for path in folder.glob("*.jsonl")} == set(TABLE)
    path = str(folder / f"{name}.jsonl")
    if isinstance(TABLE[name], str):
        assert TABLE[name] in refused(path)
        return
    count, roles, begins = TABLE[name]
    records = load(path)
    assert len(records) == count
    assert [message.role[0] for message in records[0].prompt] == list(roles)
    assert len(records[0].chosen[0]) == 1
    assert records[0].chosen[0][0].content.startswith(begins + " it in boiling water")
    wrong = ("Eggs", " Eggs", "TL;DR: Eggs")
    assert records[0].rejected[0][0].content.startswith(wrong)
    assert all(message.content for record in records for message in record.prompt)
