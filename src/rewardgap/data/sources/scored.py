"""The `scored` source: your rows of several responses to a prompt, each with a score."""

import logging
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeAlias

from rewardgap.data.columns import numbers, other_cells, texts
from rewardgap.data.readers import read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

Levels: TypeAlias = list[list[str]]
"""The responses of each score, the best score first; at least two."""

Contests: TypeAlias = list[tuple[list[str], list[str]]]
"""Responses that win, and those that each of them beats."""


def best_worst(levels: Levels) -> Contests:
    """Put one of the best responses against one of the worst: of equals, the first."""
    return [(levels[0][:1], levels[-1][:1])]


def all_pairs(levels: Levels) -> Contests:
    """Put every response against all of a lower score: a contest for each score but the lowest."""
    lower = [list(chain.from_iterable(levels[rank:])) for rank in range(1, len(levels))]
    return list(zip(levels, lower, strict=False))


CONTESTS: Mapping[str, Callable[[Levels], Contests]] = {
    "best-worst": best_worst,
    "all-pairs": all_pairs,
}


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read prompts whose responses have scores; where all are equal, the row is left out.

    Args:
        part: One of `CONTESTS`.
        path: The data: columns `prompt`, `responses` (a list of strings) and `scores` (a list of
            numbers). The second contest of a row with the id "x" has the id "x/2".

    Raises:
        UserError: There is no path, or a row is broken.
    """
    equal = 0
    for where, row in read_given(path, f"scored:{part}"):
        levels = _levels(row, where)
        if len(levels) < 2:
            equal += 1
            continue
        for number, (chosen, rejected) in enumerate(CONTESTS[part](levels), start=1):
            yield where, {**_named(row, number), "chosen": chosen, "rejected": rejected}
    if equal:
        logger.warning("%s: rows left out in which no score is lower than another: %d", path, equal)


def _levels(row: Row, where: str) -> Levels:
    responses, scores = texts(row, "responses", where), numbers(row, "scores", where)
    if len(responses) != len(scores):
        raise UserError(
            f"{where}: {len(responses)} `responses` and {len(scores)} `scores`: give each its own"
        )
    levels: dict[float, list[str]] = {score: [] for score in sorted(scores, reverse=True)}
    for response, score in zip(responses, scores, strict=True):
        levels[score].append(response)
    return list(levels.values())


def _named(row: Row, number: int) -> Row:
    named = {**other_cells(row), "prompt": row.get("prompt")}
    if number > 1 and "id" in named:
        named["id"] = f"{named['id']}/{number}"
    return named


SOURCE = Source(rows, tuple(CONTESTS))
