"""Layouts of several responses with scores or ranks; every pair of unequal scores is compared."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rewardgap.data.columns import text, wrong_cell
from rewardgap.data.layouts.layout import RowLayout, columns, contests, figure, inner, items
from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError

SPEAKERS = {"prompter": "user", "assistant": "assistant"}


def _by_prompt(rows: Rows) -> Rows:
    """Bring together the rows of a prompt, which follow one another: a row per response."""
    for _, group in groupby(rows, key=lambda placed: placed[1]["prompt"]):
        members = list(group)
        location, first = members[0]
        yield location, {**first, "responses": [row for _, row in members]}


def _helpfulness(row: Row) -> Iterator[Row]:
    """Read HelpSteer2's ratings: the more helpful response is better."""
    scores = [(text(rated, "response"), figure(rated, "helpfulness")) for rated in row["responses"]]
    ratings = "response responses helpfulness correctness coherence complexity verbosity"
    yield from contests(row, row["prompt"], scores, ratings)


def _completions(row: Row) -> Iterator[Row]:
    """Read UltraFeedback: the mean of its four ratings, for overall scores are partly misread.

    A system prompt that all completions had is kept. Usually each had its own, which the judge
    did not see.
    """
    completions = items(row, "completions")
    fine = all(completion.get("fine-grained_score") is not None for completion in completions)
    key = "fine-grained_score" if fine else "overall_score"
    scores = [(text(item, "response"), figure(item, key)) for item in completions]
    systems = [item.get("custom_system_prompt") or "" for item in completions]
    if systems and all(system == systems[0] for system in systems):
        row = {**row, "system": systems[0]}
    yield from contests(row, row["instruction"], scores, "instruction completions")


def _answers(row: Row) -> Iterator[Row]:
    """Read answers of a forum, with their scores."""
    scores = [(text(item, "text"), figure(item, "pm_score")) for item in items(row, "answers")]
    yield from contests(row, row["question"], scores, "question answers")


def _is_scored(row: Row) -> bool:
    match row["answers"]:
        case [{"text": _, "pm_score": _}, *_]:
            return True
    return False


def _graded(row: Row) -> Iterator[Row]:
    """Read `response_1`, `response_2`, … and as many `scores`, usually true and false."""
    grades = row["scores"]
    if not isinstance(grades, list) or not all(isinstance(grade, int | float) for grade in grades):
        raise wrong_cell(row, "scores", "a list of numbers, or of true and false")
    names = [f"response_{number}" for number in range(1, len(grades) + 1)]
    if f"response_{len(grades) + 1}" in row:
        raise UserError(f"{len(grades)} `scores` and more responses: give every response a score")
    scores = [(text(row, name), float(grade)) for name, grade in zip(names, grades, strict=True)]
    yield from contests(row, row["prompt"], scores, " ".join(names))


def _tree(row: Row) -> Iterator[Row]:
    """Read a tree of messages: ranked replies to one conversation, the best of rank 0."""
    waiting: list[tuple[list[dict[str, str]], Mapping[str, Any]]] = [([], inner(row, "prompt"))]
    while waiting:
        turns, message = waiting.pop()
        speaker = text(message, "role")
        turn = {"role": SPEAKERS.get(speaker, speaker), "content": text(message, "text")}
        turns = [*turns, turn]
        replies = items(message, "replies") if message.get("replies") else []
        waiting += [(turns, reply) for reply in reversed(replies)]
        if turn["role"] != "assistant":
            yield from contests(row, turns, _ranked(replies), "")


def _ranked(replies: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    return [
        (text(reply, "text"), -figure(reply, "rank"))
        for reply in replies
        if reply.get("rank") is not None and not reply.get("deleted")
    ]


RANKED = {
    "helpsteer2": RowLayout(
        columns("prompt response helpfulness"), _helpfulness, columns("chosen"), gather=_by_prompt
    ),
    "ultrafeedback": RowLayout(columns("instruction completions"), _completions),
    "stack-exchange": RowLayout(columns("question answers"), _answers, accepts=_is_scored),
    "ppe-correctness": RowLayout(columns("prompt response_1 response_2 scores"), _graded),
    "message-tree": RowLayout(
        columns("message_tree_id prompt"),
        _tree,
        accepts=lambda row: isinstance(row["prompt"], Mapping),
    ),
}
