"""Roles, parts, system prompts, tools and tool calls: into records, and out through a template."""

import json
import logging

import pytest
from tiny import tiny_tokenizer

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.parsing import parse_record
from rewardgap.data.records import Message

TEMPLATE = (
    "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% if style %}<|system|>{{ style }}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}({{ call['function']['name'] }}){% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "owl", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "owl", "arguments": {"town": "Puno"}}}
ROW = {
    "prompt": "q",
    "chosen": [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
    "rejected": "b",
}


@pytest.fixture
def template():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return ChatTemplate(tokenizer)


def parsed(**columns):
    return parse_record({"prompt": "q", "chosen": "a", "rejected": "b", **columns}, "here")


@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_column_is_the_first_message(key):
    expected = parsed(prompt=[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}])
    assert parsed(**{key: "s"}) == expected
    assert parsed(**{key: ""}) == parsed(**{key: None}) == parsed()
    turns = {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
             "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
             "prompt": None}  # fmt: skip
    assert parsed(**turns, **{key: "s"}) == expected
    again = parsed(
        prompt=[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], **{key: "s"}
    )
    assert again == expected, "a prompt that has it already keeps it once"


@pytest.mark.parametrize("write", [lambda value: value, json.dumps], ids=["values", "json"])
def test_tools_and_arguments_go_to_the_template(write, template):
    record = parsed(tools=write([TOOL]), chat_template_kwargs=write({"style": "loud", "x": None}))
    (tree,) = template.encode([record])
    tokenizer = tiny_tokenizer()
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    text = tokenizer.apply_chat_template(
        messages, chat_template=TEMPLATE, tools=[TOOL], style="loud", tokenize=False
    )
    assert "loud" in text and "owl" in text
    whole = tree.sequence(tree.leaves[0])
    assert whole == tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert record.metadata == {}
    assert record.id != parsed().id
    assert record.id == parsed(tools=[TOOL], chat_template_kwargs={"style": "loud"}).id


def test_columns_without_content_change_no_id():
    assert parsed(tools=None, chat_template_kwargs={}) == parsed(tools="", system="") == parsed()
    assert parsed(tools=[]) == parsed(chat_template_kwargs={"style": None}) == parsed()


def test_what_a_template_does_not_read_is_named(template, caplog):
    records = [parsed(tools=[TOOL], chat_template_kwargs={"colour": "red"})] * 2
    with caplog.at_level(logging.WARNING):
        template.encode(records)
    assert [record.getMessage() for record in caplog.records] == [
        "`colour` has no effect: the chat template does not read it"
    ]


def test_tool_calls_are_passed_on(template):
    record = parse_record(ROW, "here")
    (message,) = record.chosen[0]
    assert message.as_mapping() == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert template.render(record.chosen[0]) == "<|assistant|>(owl)<|end|>"
    other = {**ROW, "chosen": [{**ROW["chosen"][0], "tool_calls": [TOOL]}]}
    assert parse_record(other, "here").id != record.id
    named = {"role": "tool", "content": "5", "name": "owl", "tool_call_id": "1", "weight": None}
    prompt = [{"role": "user", "content": "q"}, ROW["chosen"][0], named]
    record = parse_record({**ROW, "prompt": prompt, "chosen": "a"}, "here")
    assert record.prompt[2].as_mapping() == {
        key: value for key, value in named.items() if value is not None
    }


def test_nulls_of_a_table_are_no_tool_calls():
    """A table holds the keys of all rows in each of them."""
    padded = {
        **CALL,
        "id": None,
        "function": {**CALL["function"], "arguments": {"town": "Puno", "x": None}},
    }
    row = {**ROW, "chosen": [{**ROW["chosen"][0], "tool_calls": [padded], "name": None}]}
    assert parse_record(row, "here") == parse_record(ROW, "here")


def test_roles_of_other_tools():
    turns = [{"from": "system", "value": "s"}, {"from": "Human", "value": "q"}]
    turns += [{"from": "GPT", "value": "a"}, {"from": "observation", "value": "o"}]
    record = parsed(prompt=turns)
    assert [message.role for message in record.prompt] == ["system", "user", "assistant", "tool"]


def test_parts_are_joined():
    parts = [{"type": "text", "text": "q"}, {"type": "text", "text": "?", "image": None}]
    record = parsed(prompt=[{"role": "user", "content": parts}])
    assert record.prompt == (Message("user", "q?"),)
