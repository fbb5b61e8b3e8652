"""Your own rows: two responses and a label of the better one, or several responses with scores."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

from rewardgap.data.columns import convert, numbers, scalar_cells, text, texts, wrong_cell
from rewardgap.data.readers import read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

SIDES = {"a": "a", "model_a": "a", "b": "b", "model_b": "b"}
OPPONENTS = {"a": "b", "b": "a"}
TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad")

Levels: TypeAlias = list[list[str]]
"""The responses of each score, the best score first."""

Contests: TypeAlias = list[tuple[list[str], list[str]]]
"""Pairs of winning responses and the responses that each of them beats."""


def winners_rows(part: str, *, path: str | None = None) -> Rows:
    """Read pairs in one of two layouts; rows without a winner are left out and their number logged.

    The column `winner` holds A, B, model_a, model_b, in any letter case, or a tie. The others are
    `prompt`, `response_a` and `response_b`, or whole conversations `conversation_a` and
    `conversation_b` as LMArena publishes them.
    """
    data = read_given(path, f"winners:{part}")
    return convert(data, _winner_first, f"{path}: rows left out without a winner")


def _winner_first(row: Row) -> Iterator[Row]:
    label = text(row, "winner").strip().lower()
    if label in TIES:
        return
    if label not in SIDES:
        valid = ", ".join((*SIDES, *TIES))
        raise UserError(f"`winner` must be one of {valid}, not {label!r}: correct it")
    sides = (SIDES[label], OPPONENTS[SIDES[label]])
    if row.get("conversation_a") is None:
        chosen, rejected = (text(row, f"response_{side}") for side in sides)
        cells = {**scalar_cells(row, "response_a", "response_b"), "prompt": row.get("prompt")}
        yield {**cells, "chosen": chosen, "rejected": rejected}
    else:  # the prompt is the common beginning of both conversations
        first, second = (_conversation(row, f"conversation_{side}") for side in sides)
        yield {**scalar_cells(row, "prompt"), "chosen": first, "rejected": second}


def _conversation(row: Row, key: str) -> list[dict[str, str]]:
    """Read messages whose content is a string, or a list of parts that are all text."""
    try:
        return [{"role": turn["role"], "content": _content(turn["content"])} for turn in row[key]]
    except (TypeError, KeyError, ValueError) as error:
        raise wrong_cell(row, key, "a list of text messages {role, content}") from error


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if any(part["type"] != "text" for part in value):
        raise ValueError("a part is not text")
    return "".join(part["text"] for part in value)


def best_worst(levels: Levels) -> Contests:
    """Compare one of the best responses with one of the worst: of equals, the first."""
    return [(levels[0][:1], levels[-1][:1])]


def all_pairs(levels: Levels) -> Contests:
    """Compare every response with all of a lower score: a contest per score but the lowest."""
    lower = [list(chain.from_iterable(levels[rank:])) for rank in range(1, len(levels))]
    return list(zip(levels, lower, strict=False))


CONTESTS: Mapping[str, Callable[[Levels], Contests]] = {
    "best-worst": best_worst,
    "all-pairs": all_pairs,
}


def scored_rows(part: str, *, path: str | None = None) -> Rows:
    """Read prompts whose responses have scores; rows of equal scores are left out and logged.

    The columns are `prompt`, `responses` (a list of strings) and `scores` (a list of numbers). The
    second contest of a row with the id "x" has the id "x/2".
    """

    def contests(row: Row) -> Iterator[Row]:
        levels = _levels(row)
        cells = {**scalar_cells(row), "prompt": row.get("prompt")}
        pairs = CONTESTS[part](levels) if len(levels) > 1 else []
        for number, (chosen, rejected) in enumerate(pairs, start=1):
            if number > 1 and "id" in cells:
                cells["id"] = f"{row['id']}/{number}"
            yield {**cells, "chosen": chosen, "rejected": rejected}

    data = read_given(path, f"scored:{part}")
    return convert(data, contests, f"{path}: rows left out whose scores are all equal")


def _levels(row: Row) -> Levels:
    responses, scores = texts(row, "responses"), numbers(row, "scores")
    if len(responses) != len(scores):
        raise UserError(
            f"{len(responses)} `responses` and {len(scores)} `scores`: give every response a score"
        )
    levels: dict[float, list[str]] = {score: [] for score in sorted(scores, reverse=True)}
    for response, score in zip(responses, scores, strict=True):
        levels[score].append(response)
    return list(levels.values())


SCORED = Source(scored_rows, tuple(CONTESTS))
WINNERS = Source(winners_rows, ("rows",))
