"""Records: every layout, every error, ids."""

import hashlib
import json
import logging
import subprocess
import sys
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.data import parsing
from rewardgap.data.parsing import TakenIds, collect, parse_record
from rewardgap.data.records import Message, Record, prompt_id, record_row
from rewardgap.errors import UserError

USER = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}
ASK = (Message("user", "q"),)


def said(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


LAYOUTS = {
    "strings": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "messages": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "mixed": {"prompt": "q", "chosen": [GOOD], "rejected": ["bad"]},
    "repeated prompt": {"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "implicit prompt": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "null prompt": {"prompt": None, "chosen": [USER, GOOD], "rejected": [[USER, BAD]]},
    "null keys": {"prompt": "q", "chosen": [{**GOOD, "tool_calls": None}], "rejected": "bad"},
}


@pytest.mark.parametrize("row", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_record(row):
    record = parse_record(row, "here")
    # The id is spelled out so that score files of earlier versions keep matching their data.
    assert record == Record("2893d626fb771b3d", ASK, (said("good"),), (said("bad"),), {})
    assert prompt_id(record.prompt) == "7be60628a3ca0c78"


def test_several_responses_and_metadata():
    row = {"prompt": "q", "chosen": ["a", "b"], "rejected": [[BAD], "c"], "score": 3, "id": 7}
    record = parse_record(row, "here")
    assert record.id == "7"
    assert record.chosen == (said("a"), said("b"))
    assert record.rejected == (said("bad"), said("c"))
    assert record.responses == (said("a"), said("b"), said("bad"), said("c"))
    assert record.pairs == ((0, 2), (0, 3), (1, 2), (1, 3))
    assert not record.is_pair
    assert record.metadata == {"score": 3}


SHAPES = {
    "system": {"system": "be", "prompt": "q", "chosen": "a", "rejected": "b", "id": "1", "x": [1]},
    "several": {"prompt": "q", "chosen": ["a"], "rejected": [[BAD], "c"]},
    "turns": {"prompt": [USER, BAD, USER], "chosen": [GOOD, USER, BAD], "rejected": "b"},
    "unlabelled": {"prompt": "q", "responses": ["a", [GOOD, USER, BAD]], "tools": [{"a": 1}]},
    "arguments": {"prompt": "q", "response": "a", "chat_template_kwargs": {"think": False}},
    "calls": {"prompt": "q", "chosen": [{**GOOD, "name": "n"}], "rejected": "b"},
}


@pytest.mark.parametrize("row", [*LAYOUTS.values(), *SHAPES.values()], ids=[*LAYOUTS, *SHAPES])
def test_a_record_is_written_as_a_row_that_is_read_as_the_same(row):
    record = parse_record(row, "here")
    assert parse_record(json.loads(json.dumps(record_row(record))), "there") == record


@given(st.lists(st.integers(0, 30), max_size=60))
def test_an_id_is_taken_once_however_many_there_are(numbers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "LATEST_HASHES", 4)
        taken, known = TakenIds(), set()
        for number in numbers:
            assert taken.take(str(number)) == (number not in known)
            known.add(number)


def test_a_hash_that_ends_in_zeros_is_known_again(monkeypatch):
    def digest(name):
        return hashlib.blake2b(name.encode(), digest_size=parsing.HASH_BYTES).digest()

    monkeypatch.setattr(parsing, "LATEST_HASHES", 1)
    name = next(name for name in map(str, count()) if digest(name).endswith(b"\0"))
    taken = TakenIds()
    assert taken.take(name) and not taken.take(name)


def test_one_pair():
    record = parse_record(LAYOUTS["strings"], "here")
    assert record.pairs == ((0, 1),)
    assert record.is_pair


def test_implicit_prompt_is_the_longest_common_prefix():
    system = {"role": "system", "content": "s"}
    follow_up = {"role": "user", "content": "more"}
    shared = [system, USER, GOOD, follow_up]
    record = parse_record(
        {"chosen": [*shared, GOOD], "rejected": [[*shared, BAD], [*shared, BAD, USER, GOOD]]}, "x"
    )
    assert [message.content for message in record.prompt] == ["s", "q", "good", "more"]
    assert record.chosen == (said("good"),)
    assert record.rejected[1] == (*said("bad"), *ASK, *said("good"))


ERRORS = {
    "chosen missing": ({"prompt": "q", "rejected": "b"}, "`chosen` is missing"),
    "rejected null": ({"prompt": "q", "chosen": "b", "rejected": None}, "`rejected` is missing"),
    "prompt missing": ({"chosen": "a", "rejected": "b"}, "`prompt` is missing"),
    "chosen number": ({"prompt": "q", "chosen": 3, "rejected": "b"}, "not int"),
    "prompt object": ({"prompt": {}, "chosen": "a", "rejected": "b"}, "`prompt` must be"),
    "number in list": ({"prompt": "q", "chosen": ["a", 3], "rejected": "b"}, "`chosen` must be"),
    "empty response": ({"prompt": "q", "chosen": "", "rejected": "b"}, "`chosen` has an empty"),
    "blank response": ({"prompt": "q", "chosen": "a", "rejected": [" \n"]}, "`rejected` has an e"),
    "no responses": ({"prompt": "q", "chosen": [], "rejected": "b"}, "`chosen` is an empty list"),
    "no messages": ({"prompt": [], "chosen": "a", "rejected": "b"}, "`prompt` has no messages"),
    "blank prompt": ({"prompt": " ", "chosen": "a", "rejected": "b"}, "`prompt` is empty"),
    "prompt answered": ({"prompt": [USER, BAD], "chosen": "a", "rejected": "b"}, "`prompt` ends"),
    "no role": ({"prompt": [{"content": "q"}], "chosen": "a", "rejected": "b"}, "no `role`"),
    "no content": ({"prompt": "q", "chosen": [{"role": "assistant"}], "rejected": "b"}, "no `con"),
    "no parts": ({"prompt": [{**USER, "content": []}], "chosen": "a", "rejected": "b"}, "empty"),
    "image part": (
        {"prompt": [{**USER, "content": [{"type": "image"}]}], "chosen": "a", "rejected": "b"},
        "a part of type 'image', and rewards are of text only",
    ),
    "odd part": (
        {"prompt": [{**USER, "content": [3]}], "chosen": "a", "rejected": "b"},
        "`prompt.content` must be a string or a list of {type: text, text: …}, not int",
    ),
    "unknown key": (
        {"prompt": "q", "chosen": [{**GOOD, "weight": 1}], "rejected": "b"},
        "`weight`, which is not supported",
    ),
    "function call": (
        {"prompt": "q", "chosen": [{"from": "function_call", "value": "x"}], "rejected": "b"},
        "is a function call: write it as `tool_calls`",
    ),
    "two systems": (
        {
            "prompt": [{"role": "system", "content": "x"}, USER],
            "chosen": "a",
            "rejected": "b",
            "system": "y",
        },
        "`system` and the first message differ",
    ),
    "system number": ({"prompt": "q", "chosen": "a", "rejected": "b", "system": 3}, "`system` mu"),
    "tools no JSON": ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": "{"}, "not JSON"),
    "tools no list": ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": "{}1"}, "not JSON"),
    "tools of names": ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": ["x"]}, "`tools`"),
    "template argument": (
        {"prompt": "q", "chosen": "a", "rejected": "b", "chat_template_kwargs": {"tokenize": True}},
        "`chat_template_kwargs` must not set `tokenize`",
    ),
    "template list": (
        {"prompt": "q", "chosen": "a", "rejected": "b", "chat_template_kwargs": [1]},
        "`chat_template_kwargs` must be a mapping, not list",
    ),
    "message is text": ({"prompt": ["q"], "chosen": "a", "rejected": "b"}, "`prompt` must be mess"),
    "surrogate": ({"prompt": "\ud800", "chosen": "a", "rejected": "b"}, "surrogate pair"),
    "user last": ({"prompt": "q", "chosen": [GOOD, USER], "rejected": "b"}, "`chosen` ends with"),
    "other prompt": ({"prompt": "p", "chosen": [USER, GOOD], "rejected": "b"}, "`chosen` begins"),
    "only prompt": ({"prompt": "q", "chosen": [USER], "rejected": "b"}, "only the prompt"),
    "no common prefix": (
        {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "p"}, BAD]},
        "do not begin with the same messages",
    ),
    "chosen is the prefix": (
        {"chosen": [USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
        "only the beginning of another",
    ),
    "id is a list": ({"prompt": "q", "chosen": "a", "rejected": "b", "id": []}, "`id` must be"),
}


@pytest.mark.parametrize(("row", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_name_place_and_key_in_one_line(row, words):
    with pytest.raises(UserError) as caught:
        parse_record(row, "f.jsonl, line 3")
    message = str(caught.value)
    assert message.startswith("f.jsonl, line 3: ")
    assert words in message
    assert "\n" not in message


def place(*rows):
    return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]


def test_the_same_content_again_gets_a_suffix():
    other = {"prompt": "q", "chosen": "x", "rejected": "y"}
    taken = TakenIds()
    rows = place(LAYOUTS["strings"], other, LAYOUTS["messages"], LAYOUTS["implicit prompt"])
    records = collect(rows, "refuse", taken)
    first, second, third, fourth = [record.id for record in records]
    assert (third, fourth) == (f"{first}-2", f"{first}-3")
    assert second != first
    assert next(collect(place(other), "refuse", taken)).id == f"{second}-2"


def test_a_prompt_of_messages_ends_where_it_says():
    """A text may be one turn of whole conversations; messages are the whole prompt."""
    follow_up = {"role": "user", "content": "more"}
    turns = {"chosen": [USER, GOOD, follow_up, GOOD], "rejected": [USER, GOOD, follow_up, BAD]}
    for prompt in ("q", " more"):
        record = parse_record({"prompt": prompt, **turns}, "here")
        assert [message.content for message in record.prompt] == ["q", "good", "more"]
        assert record.rejected == (said("bad"),)
    record = parse_record({"prompt": [USER], **turns}, "here")
    assert record.prompt == ASK
    assert [message.content for message in record.rejected[0]] == ["good", "more", "bad"]
    with pytest.raises(UserError, match="`chosen` begins with a message of 'user'"):
        parse_record({"prompt": "another", **turns}, "here")


def test_a_prefix_of_another_conversation_keeps_its_response():
    turns = {"chosen": [USER, GOOD], "rejected": [USER, GOOD, USER, BAD]}
    record = parse_record({"prompt": "q", **turns}, "here")
    assert (record.prompt, record.chosen) == (ASK, (said("good"),))


def test_ids_written_back_to_a_file_are_read_again():
    row = LAYOUTS["strings"]
    ids = [record.id for record in collect(place(row, row), "refuse", TakenIds())]
    again = collect(place(*({**row, "id": each} for each in ids), row), "refuse", TakenIds())
    assert [record.id for record in again] == [*ids, f"{ids[0]}-3"]


def test_an_id_given_twice_is_refused():
    row = {**LAYOUTS["strings"], "id": "mine"}
    with pytest.raises(UserError, match="row 2: `id` 'mine' occurs twice"):
        list(collect(place(row, row), "refuse", TakenIds()))


IDENTICAL = {
    "pair": {"prompt": "q", "chosen": "a", "rejected": "a"},
    "one of several": {"prompt": "q", "chosen": ["a", "b"], "rejected": ["c", "b"]},
    "conversation": {"chosen": [USER, GOOD], "rejected": [USER, GOOD]},
}


@pytest.mark.parametrize("row", IDENTICAL.values(), ids=IDENTICAL.keys())
def test_a_response_both_chosen_and_rejected(row, caplog):
    rows = place(LAYOUTS["strings"], row)
    with pytest.raises(UserError, match=r"row 2: .*remove the row or set `identical_pairs: drop`"):
        list(collect(rows, "refuse", TakenIds()))
    with caplog.at_level(logging.WARNING):
        records = list(collect(rows, "drop", TakenIds()))
    assert [record.chosen for record in records] == [(said("good"),)]
    assert "are the same: 1, the first at row 2" in caplog.text


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(TEXT, st.lists(TEXT, min_size=2, max_size=5, unique=True), st.data())
def test_all_layouts_agree_on_any_text(prompt, texts, data):
    cut = data.draw(st.integers(1, len(texts) - 1))
    chosen, rejected = texts[:cut], texts[cut:]
    asked = {"role": "user", "content": prompt}

    def conversations(answers):
        return [[asked, {"role": "assistant", "content": answer}] for answer in answers]

    plain = parse_record({"prompt": prompt, "chosen": chosen, "rejected": rejected}, "x")
    turns = {"chosen": conversations(chosen), "rejected": conversations(rejected)}
    assert parse_record(turns, "x") == plain
    assert parse_record({"prompt": [asked], **turns}, "x") == plain
    assert [response[0].content for response in plain.responses] == texts


def test_no_torch():
    code = (
        "import sys, rewardgap.data.load; "
        "rewardgap.data.load.load('agreement:original-train'); "
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
