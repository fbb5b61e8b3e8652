"""Messages of rows: roles by any name, contents in parts, tool calls, system prompts and tools."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rewardgap.data.records import Message, Response, Row
from rewardgap.errors import UserError

ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant"}
ROLES |= {"bot": "assistant", "model": "assistant", "observation": "tool"}
"""Names of roles in other tools, and ours."""

FURTHER = ("tool_calls", "tool_call_id", "name", "reasoning_content", "thinking")
"""Keys of a message that a chat template reads."""

SYSTEM = ("system", "system_prompt")
"""Columns of a system prompt."""

ARGUMENTS = ("tools", "chat_template_kwargs")
"""Columns of what a chat template gets beside messages."""

RESERVED = {"conversation", "messages", "documents", "chat_template", "add_generation_prompt"}
RESERVED |= {"continue_final_message", "tokenize", "padding", "truncation", "max_length"}
RESERVED |= {"return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"}
RESERVED |= {"tools"}
"""Arguments of a chat template that are not the data's to choose."""


def read_turns(value: Any, key: str, role: str, layouts: str) -> Response:
    """Read the text of a role, or messages; `layouts` says what may be here.

    Raises:
        UserError: It is neither; names `key`.
    """
    if isinstance(value, str):
        return (Message(role, plain_text(value, key)),)
    if not isinstance(value, Sequence):
        raise wrong_type(value, key, layouts)
    if not value:
        raise UserError(f"`{key}` has no messages: give at least one")
    return tuple(_read_message(message, key) for message in value)


def _read_message(value: Any, key: str) -> Message:
    if not isinstance(value, Mapping):
        raise wrong_type(value, key, "messages {role, content} inside the list")
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    if role is None:
        raise UserError(f"a message of `{key}` has no `role`: add it")
    if not isinstance(role, str):
        raise wrong_type(role, f"{key}.role", "a string")
    if role == "function_call":
        raise UserError(f"a message of `{key}` is a function call: write it as `tool_calls`")
    further = {name: _without_nulls(value[name]) for name in FURTHER if value.get(name)}
    known = (*FURTHER, "role", "content", "from", "value")
    if unknown := [name for name in value if name not in known and value[name]]:
        raise UserError(
            f"a message of `{key}` has `{unknown[0]}`, which is not supported: "
            f"only {', '.join(('role', 'content', *FURTHER))} are; remove it"
        )
    if content is None and "tool_calls" not in further:
        raise UserError(f"a message of `{key}` has no `content`: add it")
    text = plain_text("" if content is None else _joined(content, key), f"{key}.content")
    return Message(ROLES.get(role.lower(), role), text, _json(further, key) if further else "")


def _joined(content: Any, key: str) -> str:
    """Return a text, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise wrong_type(content, f"{key}.content", "a string or a list of text parts")
    return "".join(_part(part, key) for part in content)


def _part(part: Any, key: str) -> str:
    match part:
        case str():
            return part
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)}:
            raise UserError(
                f"a message of `{key}` has a part of type {kind!r}, and rewards are of text only: "
                "remove the row"
            )
    raise wrong_type(part, f"{key}.content", "a string or a list of {type: text, text: …}")


def with_system(row: Row, prompt: Response) -> Response:
    """Return the prompt after the system prompt of the row, if there is one.

    Raises:
        UserError: It is no text, or the prompt begins with another one.
    """
    for key in SYSTEM:
        value = row.get(key)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise wrong_type(value, key, "a string, the system prompt")
        message = Message("system", plain_text(value, key))
        if prompt[0].role != "system":
            prompt = (message, *prompt)
        elif prompt[0] != message:
            raise UserError(f"`{key}` and the first message differ: keep one system prompt")
    return prompt


def template_arguments(row: Row) -> dict[str, Any]:
    """Return what a row gives its chat template beside messages: tools and further arguments.

    Raises:
        UserError: They are not what a template takes.
    """
    tools, arguments = (_from_json(row.get(key), key) for key in ARGUMENTS)
    arguments = arguments or {}
    if not isinstance(arguments, Mapping):
        raise wrong_type(arguments, "chat_template_kwargs", "a mapping")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if reserved := sorted(RESERVED & set(arguments)):
        raise UserError(f"`chat_template_kwargs` must not set `{reserved[0]}`: remove it")
    if not tools:
        return arguments
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise UserError("`tools` must be a list of tools as JSON schemas: correct or remove it")
    return {**arguments, "tools": tools}


def _from_json(value: Any, key: str) -> Any:
    """Return a value that may be written as JSON in a text."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f"`{key}` is not JSON ({error}): correct or remove it") from error
    else:
        value = _without_nulls(value)
    if value:
        _json(value, key)
    return value or None


def _without_nulls(value: Any) -> Any:
    """Leave out nulls, which tables hold where another row has a key."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _json(value: Any, key: str) -> str:
    try:
        written = json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"`{key}` cannot be written as JSON ({error}): remove it") from error
    return plain_text(written, key)


def plain_text(value: str, key: str) -> str:
    """Return a text that can be encoded.

    Raises:
        UserError: It has half of a surrogate pair; names `key`.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"`{key}` has half of a surrogate pair at character {error.start + 1}, "
            "which is not text: write the whole character"
        ) from error
    return value


def wrong_type(value: Any, key: str, expected: str) -> UserError:
    """Return the error for a value of another type."""
    return UserError(f"`{key}` must be {expected}, not {type(value).__name__}")
