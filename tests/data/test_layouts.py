"""Layouts of public data sets and other tools: what is read, what is refused, and what is said."""

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from toy import write_rows

from rewardgap.data.layouts import LAYOUTS, RECOGNISED
from rewardgap.data.layouts.recognition import in_one_layout
from rewardgap.data.load import load
from rewardgap.data.parsing import parse_record
from rewardgap.errors import UserError


def turn(role, content):
    return {"role": role, "content": content}


def said(role, content):
    return {"from": role, "value": content}


def parts(text):
    return [{"type": "text", "text": text, "image": None}]


def human(*turns):
    names = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(names[index % 2] + text for index, text in enumerate(turns))


ASKED = "Where is the owl?"
SYSTEM = "Speak softly."
TALK = [turn("user", "Hello."), turn("assistant", "Good evening."), turn("user", ASKED)]
UNIQUE = {"model_a": "m", "model_b": "n"}


def arena(good, bad):
    return {
        **UNIQUE,
        "winner": "model_b",
        "conversation_a": [turn("user", parts(ASKED)), turn("assistant", parts(bad))],
        "conversation_b": [turn("user", parts(ASKED)), turn("assistant", parts(good))],
    }


def arena_turns(good, bad):
    texts = {"prompt": ASKED, "response_a": bad, "response_b": good}
    cells = {key: json.dumps([text]) for key, text in texts.items()}
    return {**UNIQUE, **cells, "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}


def rated(good, bad):
    scores = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    return [
        {"prompt": ASKED, "response": bad, "helpfulness": 1, **scores},
        {"prompt": ASKED, "response": good, "helpfulness": 3, **scores},
    ]


def completion(text, score, overall, system="Be kind."):
    scores = {"fine-grained_score": score, "overall_score": overall}
    return {"response": text, "custom_system_prompt": system, **scores}


def numbered(good, bad, **label):
    return {"prompt": ASKED, "response_1": bad, "response_2": good, **label}


def replies(good, bad):
    ranked = [
        {"text": bad, "role": "assistant", "rank": 1, "replies": []},
        {"text": "odd", "role": "assistant", "rank": None, "replies": []},
        {"text": good, "role": "assistant", "rank": 0},
    ]
    return {
        "message_tree_id": "t",
        "prompt": {"text": ASKED, "role": "prompter", "replies": ranked},
    }


def summaries(good, bad):
    info = {"id": "t3", "post": "Owls fly.", "title": "Owls", "subreddit": "birds"}
    return {
        "info": {**info, "article": None},
        "summaries": [{"text": bad, "policy": "p"}, {"text": good, "policy": "q"}],
        "choice": 1,
        "worker": "w",
    }


def conversations(good, bad, *before):
    start = [*before, turn("user", ASKED)]
    return {
        "chosen": [*start, turn("assistant", good)],
        "rejected": [*start, turn("assistant", bad)],
    }


def sides(good, bad):
    return {"chosen": good, "rejected": bad}


# By name: the rows that say that `good` beats `bad`, and the roles of the prompt.
WRITERS = {
    "strings": (lambda g, b: {"prompt": ASKED, **sides(g, b)}, "u"),
    "implicit": (conversations, "u"),
    "system column": (lambda g, b: {"system": SYSTEM, "prompt": ASKED, **sides(g, b)}, "su"),
    "system message": (
        lambda g, b: {"prompt": ASKED, **conversations(g, b, turn("system", SYSTEM))},
        "su",
    ),
    "last turn": (lambda g, b: {"prompt": ASKED, **conversations(g, b, *TALK[:2])}, "uau"),
    "first turn": (lambda g, b: {"prompt": "Hello.", **conversations(g, b, *TALK[:2])}, "uau"),
    "other roles": (
        lambda g, b: {
            "prompt": [turn("human", ASKED)],
            **sides([turn("gpt", g)], [turn("chatgpt", b)]),
        },
        "u",
    ),
    "parts": (
        lambda g, b: {
            "prompt": [turn("user", parts(ASKED))],
            **sides([turn("assistant", parts(g))], [turn("assistant", parts(b))]),
        },
        "u",
    ),
    "alpaca": (lambda g, b: {"instruction": ASKED, "input": "", **sides(g, b)}, "u"),
    "alpaca history": (
        lambda g, b: {
            "instruction": ASKED,
            "system": SYSTEM,
            "history": [["Hello.", "Good evening."]],
            **sides(g, b),
        },
        "suau",
    ),
    "argilla-math": (
        lambda g, b: {"instruction": ASKED, "chosen_response": g, "rejected_response": b},
        "u",
    ),
    "input": (lambda g, b: {"input": ASKED, **sides(g, b)}, "u"),
    "question": (lambda g, b: {"system": SYSTEM, "question": ASKED, **sides(g, b)}, "su"),
    "trajectory": (lambda g, b: {"trajectory": [said("user", ASKED)], **sides(g, b)}, "u"),
    "sharegpt": (
        lambda g, b: {
            "conversations": [said("human", ASKED)],
            "system": SYSTEM,
            **sides(said("gpt", g), said("gpt", b)),
        },
        "su",
    ),
    "swift": (
        lambda g, b: {"messages": [*TALK, turn("assistant", g)], "rejected_response": b},
        "uau",
    ),
    "swift-messages": (
        lambda g, b: {
            "messages": [*TALK, turn("assistant", g)],
            "rejected_messages": [*TALK, turn("assistant", b)],
        },
        "uau",
    ),
    "rmb": (
        lambda g, b: {
            "conversation_input": TALK,
            "chosen": {"answer": g, "llm_name": "m"},
            "reject": {"answer": b, "llm_name": "n"},
        },
        "uau",
    ),
    "rmb-best-of-n": (
        lambda g, b: {
            "conversation_input": TALK,
            "bon_best": {"answer": g, "llm_name": "m"},
            "loser_list": [{"answer": b, "llm_name": "n"}],
        },
        "uau",
    ),
    "arena": (arena, "u"),
    "arena-turns": (arena_turns, "u"),
    "winners": (
        lambda g, b: {"prompt": ASKED, "response_a": b, "response_b": g, "winner": "B"},
        "u",
    ),
    "ppe-human": (lambda g, b: numbered(g, b, winner="model_b"), "u"),
    "ppe-correctness": (lambda g, b: numbered(g, b, scores=[False, True]), "u"),
    "helpsteer2": (rated, "u"),
    "helpsteer2-preference": (lambda g, b: numbered(g, b, preference_strength=2), "u"),
    "helpsteer3": (
        lambda g, b: {"context": TALK, "response1": g, "response2": b, "overall_preference": -1},
        "uau",
    ),
    "judgebench": (
        lambda g, b: {"question": ASKED, "response_A": b, "response_B": g, "label": "B>A"},
        "u",
    ),
    "shp": (
        lambda g, b: {"history": ASKED, "human_ref_A": b, "human_ref_B": g, "labels": 0},
        "u",
    ),
    "webgpt": (
        lambda g, b: {
            "question": {"full_text": ASKED},
            "answer_0": b,
            "answer_1": g,
            "score_0": -0.5,
            "score_1": 0.5,
        },
        "u",
    ),
    "ultrafeedback": (
        lambda g, b: {
            "instruction": ASKED,
            "completions": [completion(b, 2.0, 9), completion(g, 4.5, 8)],
        },
        "su",
    ),
    "stack-exchange": (
        lambda g, b: {
            "question": ASKED,
            "answers": [{"text": b, "pm_score": 0}, {"text": g, "pm_score": 7}],
        },
        "u",
    ),
    "message-tree": (replies, "u"),
    "summaries": (summaries, "u"),
    "human-assistant": (
        lambda g, b: sides(
            human("Hello.", "Good evening.", ASKED, g), human("Hello.", "Good evening.", ASKED, b)
        ),
        "uau",
    ),
    "human-assistant prompt": (
        lambda g, b: {"prompt": human(ASKED) + "\n\nAssistant:", **sides(" " + g, " " + b)},
        "u",
    ),
    "human-assistant repeated": (
        lambda g, b: {
            "prompt": human(ASKED) + "\n\nAssistant:",
            **sides(human(ASKED, g), human(ASKED, b)),
        },
        "u",
    ),
    "prompter": (
        lambda g, b: {
            "lang": "en",
            "parent_id": "p",
            "prompt": f"prompter: Hello.\nassistant: Good evening.\nprompter: {ASKED}",
            **sides(g, b),
        },
        "uau",
    ),
    "tulu3": (
        lambda g, b: {
            **{"id": "same", "source": "s", "prompt": ASKED, **conversations(g, b)},
            **{"chosen_model": "m", "rejected_model": "n"},
        },
        "u",
    ),
    "rewardbench-2": (
        lambda g, b: (
            {"prompt": ASKED, "chosen": [g], "rejected": [b], "num_correct": 1}
            | {"subset": "Focus"}
        ),
        "u",
    ),
}
WORD = st.text("abcdefgh é猫", min_size=1).map(str.strip).filter(bool)


def place(rows):
    return [(f"f.jsonl, row {number}", row) for number, row in enumerate(rows, start=1)]


def read(rows, name=None):
    return [parse_record(row, place) for place, row in in_one_layout(iter(place(rows)), name)]


@pytest.mark.parametrize("name", WRITERS)
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


def test_columns_that_have_no_effect_are_named_once(caplog):
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5, "score_chosen": 3}
    with caplog.at_level(logging.WARNING):
        records = read([row, row])
    assert caplog.text.count("f.jsonl: `margin` has no effect") == 1
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
    "prompts_only": "line 1: `chosen` is missing (keys present: `prompt`): add it",
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
