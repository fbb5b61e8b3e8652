"""Shapes of requests and answers: OpenRLHF's, vLLM's and our own."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewardgap.data.columns import listed
from rewardgap.data.messages import (
    ARGUMENTS,
    SYSTEM,
    plain_text,
    read_turns,
    template_arguments,
    with_system,
    wrong_type,
)
from rewardgap.errors import UserError
from rewardgap.scoring.responses import ChatPrompt, PromptedResponse, Text, WholeText, WrittenPrompt

Body: TypeAlias = Mapping[str, Any]
"""The JSON object of a request."""

ROUTING = {"model", "user", "request_id", "priority", "labels"}
"""Keys that clients send and that no reward depends on."""

NEUTRAL = {
    "encoding_format": "float",
    "use_activation": False,
    "add_special_tokens": False,
    "add_generation_prompt": False,
    "continue_final_message": False,
    "truncate_prompt_tokens": None,
}
"""Keys of vLLM's requests, with the only value that they may have here."""


@dataclass(frozen=True)
class Rewarded:
    """Rewards of a request's responses, and the number of tokens of each with its prompt."""

    rewards: list[float]
    lengths: list[int]


@dataclass(frozen=True)
class Shape:
    """What an address takes and gives.

    Attributes:
        read: Returns the responses that a request asks about; raises a `UserError` if it is wrong.
        write: Returns the answer, from the rewards and the name of the model.
    """

    read: Callable[[Body], list[PromptedResponse]]
    write: Callable[[Rewarded, str], dict[str, Any]]


def _read_score(body: Body) -> list[PromptedResponse]:
    """Read `prompt` and `responses`, or `messages` of which the last one is rewarded."""
    if body.get("messages") is not None:
        _refuse_unknown(body, "messages", *ARGUMENTS, *SYSTEM)
        return _read_messages(body)
    _refuse_unknown(body, "prompt", "responses", *ARGUMENTS, *SYSTEM)
    prompt, responses = body.get("prompt"), body.get("responses")
    if prompt is None or responses is None:
        present = listed(body) or "none"
        raise UserError(f"give `prompt` and `responses`, or `messages` (keys present: {present})")
    turns = read_turns(prompt, "prompt", "user", "a string or a list of messages")
    if turns[-1].role == "assistant":
        raise UserError("`prompt` ends with an assistant message: move it into the responses")
    asked = _chat_prompt(body, turns)
    items = [responses] if isinstance(responses, str) else responses
    if not isinstance(items, list) or not items:
        raise UserError("`responses` must be a string or a list of responses, at least one")
    layouts = "strings or lists of messages inside the list"
    return [
        PromptedResponse(asked, read_turns(r, "responses", "assistant", layouts)) for r in items
    ]


def _read_messages(body: Body) -> list[PromptedResponse]:
    turns = read_turns(body["messages"], "messages", "user", "a list of messages")
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise UserError("`messages` must end with an assistant message after a prompt")
    return [PromptedResponse(_chat_prompt(body, turns[:-1]), turns[-1:])]


def _chat_prompt(body: Body, turns: tuple[Any, ...]) -> ChatPrompt:
    arguments = json.dumps(template_arguments(body), sort_keys=True)
    return ChatPrompt(with_system(body, turns), arguments)


def _read_queries(body: Body) -> list[PromptedResponse]:
    """Read OpenRLHF's `query`: texts of prompt and response; `prompts` say where these begin."""
    texts = _texts(body, "query")
    if body.get("prompts") is None:
        return [PromptedResponse(WholeText(text), text) for text in texts]
    prompts = _texts(body, "prompts")
    if len(prompts) != len(texts):
        raise UserError(f"{len(texts)} texts in `query` and {len(prompts)} in `prompts`")
    return [
        PromptedResponse(
            WrittenPrompt(prompt) if prompt and text.startswith(prompt) else WholeText(text), text
        )
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def _texts(body: Body, key: str) -> list[str]:
    value = body.get(key)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise UserError(f"`{key}` must be a list of strings, at least one")
    return [plain_text(text, key) for text in texts]


def _read_inputs(body: Body) -> list[PromptedResponse]:
    """Read vLLM's `input`, texts or token ids of prompt and response, or `messages`."""
    for key, value in NEUTRAL.items():
        if body.get(key) not in (None, value):
            raise UserError(f"`{key}` can be {json.dumps(value)} alone: rewards are raw; remove it")
    known = ("input", "messages", "task", *NEUTRAL, *ARGUMENTS)
    _refuse_unknown(body, *known)
    if body.get("messages") is not None:
        return _read_messages(body)
    value = body.get("input")
    items = value if isinstance(value, list) and not _is_tokens(value) else [value]
    if not items:
        raise UserError("`input` is an empty list: give at least one text")
    return [PromptedResponse(WholeText(text), text) for text in map(_text, items)]


def _text(value: Any) -> Text:
    if isinstance(value, str):
        return plain_text(value, "input")
    if _is_tokens(value):
        return tuple(value)
    raise wrong_type(value, "input", "a string, a list of token ids, or a list of these")


def _is_tokens(value: Any) -> bool:
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(type(token) is int and 0 <= token < 2**31 for token in value)


def _refuse_unknown(body: Body, *known: str) -> None:
    unknown = {key: body[key] for key in body.keys() - ROUTING - {*known} if body[key] is not None}
    if unknown:
        raise UserError(f"unknown keys: {listed(unknown)}; the keys are {', '.join(known)}")


def _usage(lengths: list[int]) -> dict[str, int]:
    return {"prompt_tokens": sum(lengths), "total_tokens": sum(lengths), "completion_tokens": 0}


def _write_score(rewarded: Rewarded, model: str) -> dict[str, Any]:
    return {"model": model, "rewards": rewarded.rewards, "usage": _usage(rewarded.lengths)}


def _write_queries(rewarded: Rewarded, model: str) -> dict[str, Any]:
    return {"rewards": rewarded.rewards, "scores": rewarded.rewards, "extra_logs": {}}


def _write_classes(rewarded: Rewarded, model: str) -> dict[str, Any]:
    data = [
        {"index": index, "label": "LABEL_0", "probs": [reward], "num_classes": 1}
        for index, reward in enumerate(rewarded.rewards)
    ]
    return _write_list("classify", data, rewarded, model)


def _write_pooled(rewarded: Rewarded, model: str) -> dict[str, Any]:
    data = [
        {"index": index, "object": "pooling", "data": [reward]}
        for index, reward in enumerate(rewarded.rewards)
    ]
    return _write_list("pool", data, rewarded, model)


def _write_list(
    prefix: str, data: list[dict[str, Any]], rewarded: Rewarded, model: str
) -> dict[str, Any]:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": data,
        "usage": _usage(rewarded.lengths),
    }


SHAPES = {
    "/v1/score": Shape(_read_score, _write_score),
    "/get_reward": Shape(_read_queries, _write_queries),
    "/classify": Shape(_read_inputs, _write_classes),
    "/pooling": Shape(_read_inputs, _write_pooled),
}
"""By address: ours, OpenRLHF's (cli/serve_rm.py) and vLLM's (entrypoints/pooling)."""
