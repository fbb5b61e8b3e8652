"""Layouts of two responses and a label of the better one."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rewardgap.data.columns import text, wrong_cell
from rewardgap.data.layouts.layout import (
    RowLayout,
    columns,
    dialogue,
    figure,
    inner,
    items,
    preferred,
    winner,
)
from rewardgap.data.records import Row
from rewardgap.errors import UserError

SIDES = {"a": 1.0, "model_a": 1.0, "b": -1.0, "model_b": -1.0}
LABELS = {"a>b": 1.0, "a>>b": 1.0, "b>a": -1.0, "b>>a": -1.0, "a=b": 0.0}


def winner_first(row: Row) -> Iterator[Row]:
    """Read `winner` of `response_a` and `response_b`, or of two conversations as in an arena."""
    better = winner(row, "winner", SIDES)
    if not better:
        return
    if row.get("conversation_a") is None:
        sides: list[Any] = [text(row, f"response_{side}") for side in "ab"]
        yield preferred(row, row.get("prompt"), sides, better, "response_a response_b")
    else:  # the prompt is the common beginning of both conversations
        sides = [conversation(row, f"conversation_{side}") for side in "ab"]
        yield preferred(row, None, sides, better, "")


def conversation(row: Row, key: str) -> list[dict[str, str]]:
    """Read messages whose content is a string, or a list of parts that are all text."""
    try:
        if any(part["type"] != "text" for turn in row[key] for part in _parts(turn)):
            expected = f"`{key}` must be a list of text messages {{role, content}}"
            raise UserError(f"{expected}, not with images: remove the row")
        return [{"role": turn["role"], "content": _content(turn["content"])} for turn in row[key]]
    except (TypeError, KeyError) as error:
        raise wrong_cell(row, key, "a list of text messages {role, content}") from error


def _parts(turn: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return () if isinstance(turn["content"], str) else turn["content"]


def _content(value: Any) -> str:
    return value if isinstance(value, str) else "".join(part["text"] for part in value)


def _arena_turns(row: Row) -> Iterator[Row]:
    """Read turns that are JSON lists of texts, and a column for each outcome."""
    better = figure(row, "winner_model_a") - figure(row, "winner_model_b")
    if better:
        asked = _json_texts(row, "prompt")
        sides = [_turns(asked, _json_texts(row, f"response_{side}")) for side in "ab"]
        yield preferred(row, None, sides, better, "response_a response_b")


def _json_texts(row: Row, key: str) -> list[str]:
    value: Any = row[key]
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_cell(row, key, "a JSON list of strings")
    return value


def _turns(asked: list[str], answered: list[str]) -> list[dict[str, str]]:
    if len(asked) != len(answered):
        counts = f"`prompt` has {len(asked)} turns and a response {len(answered)}"
        raise UserError(f"{counts}: give each turn its response")
    return dialogue(zip(asked, answered, strict=True))


def _pair(
    prompt: str, sides: str, better: Callable[[Row], float]
) -> Callable[[Row], Iterator[Row]]:
    """Return the reader of a prompt and two responses in columns of these names.

    `better` returns a number's sign for the first or the second response, and 0 for a tie.
    """

    def read(row: Row) -> Iterator[Row]:
        if value := better(row):
            texts = [text(row, side) for side in sides.split()]
            yield preferred(row, row[prompt], texts, value, f"{prompt} {sides}")

    return read


def _replies(row: Row) -> Iterator[Row]:
    """Read SHP, whose label 1 says that the first reply is preferred."""
    label = figure(row, "labels")
    if label not in (0, 1):
        raise wrong_cell(row, "labels", "0 or 1")
    sides = [text(row, "human_ref_A"), text(row, "human_ref_B")]
    used = "history human_ref_A human_ref_B"
    yield preferred(row, row["history"], sides, 2 * label - 1, used)


def _answers(row: Row) -> Iterator[Row]:
    better = figure(row, "score_0") - figure(row, "score_1")
    if better:
        question = row["question"]
        asked = text(question, "full_text") if isinstance(question, Mapping) else question
        sides = [text(row, "answer_0"), text(row, "answer_1")]
        yield preferred(row, asked, sides, better, "question answer_0 answer_1")


def _summaries(row: Row) -> Iterator[Row]:
    """Read summaries of a post or an article, asked for as OpenAI's models were."""
    summaries, choice = items(row, "summaries"), figure(row, "choice")
    if len(summaries) != 2 or choice not in (0, 1):
        raise wrong_cell(row, "choice", "0 or 1, the better one of two `summaries`")
    info = inner(row, "info")
    if info.get("post") is not None:
        subreddit, title, post = (info.get(key) or "" for key in ("subreddit", "title", "post"))
        asked = f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
    else:
        asked = f"Article:\n\n{text(info, 'article')}\n\nTL;DR:"
    sides = [text(summary, "text") for summary in summaries]
    yield preferred(row, asked, sides, 1 - 2 * choice, "info summaries")


JUDGED = {
    "arena": RowLayout(columns("winner conversation_a conversation_b"), winner_first),
    "arena-turns": RowLayout(
        columns("prompt response_a response_b winner_model_a winner_model_b"), _arena_turns
    ),
    "winners": RowLayout(
        columns("prompt response_a response_b winner"),
        winner_first,
        without=columns("winner_model_a conversation_a"),
    ),
    "ppe-human": RowLayout(
        columns("prompt response_1 response_2 winner"),
        _pair("prompt", "response_1 response_2", lambda row: winner(row, "winner", SIDES)),
    ),
    "helpsteer2-preference": RowLayout(
        columns("prompt response_1 response_2 preference_strength"),
        # −3 is the first response much better, 3 the second.
        _pair("prompt", "response_1 response_2", lambda row: -figure(row, "preference_strength")),
    ),
    "helpsteer3": RowLayout(
        columns("context response1 response2 overall_preference"),
        _pair("context", "response1 response2", lambda row: -figure(row, "overall_preference")),
    ),
    "judgebench": RowLayout(
        columns("question response_A response_B label"),
        _pair("question", "response_A response_B", lambda row: winner(row, "label", LABELS)),
    ),
    "shp": RowLayout(columns("history human_ref_A human_ref_B labels"), _replies),
    "webgpt": RowLayout(columns("question answer_0 answer_1 score_0 score_1"), _answers),
    "summaries": RowLayout(columns("info summaries choice"), _summaries),
}
