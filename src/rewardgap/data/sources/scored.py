"""The `scored` source: your own rows of several responses to a prompt, with scores."""

import logging
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeAlias

from rewardgap.data.columns import numbers, scalar_cells, texts
from rewardgap.data.readers import read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

Levels: TypeAlias = list[list[str]]
"""The responses of each score, the best score first."""

Contests: TypeAlias = list[tuple[list[str], list[str]]]
"""Pairs of winning responses and the responses that each of them beats."""


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


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read prompts whose responses have scores; rows of equal scores are left out.

    Args:
        part: One of `CONTESTS`.
        path: The data: columns `prompt`, `responses` (a list of strings) and `scores` (a list of
            numbers). The second contest of a row with the id "x" has the id "x/2".

    Raises:
        UserError: There is no path, or a row is broken.
    """
    equal = 0
    for location, row in read_given(path, f"scored:{part}"):
        levels = _levels(row, location)
        if len(levels) < 2:
            equal += 1
            continue
        for number, (chosen, rejected) in enumerate(CONTESTS[part](levels), start=1):
            yield location, {**_named(row, number), "chosen": chosen, "rejected": rejected}
    if equal:
        logger.warning("%s: rows left out whose scores are all equal: %d", path, equal)


def _levels(row: Row, location: str) -> Levels:
    responses, scores = texts(row, "responses", location), numbers(row, "scores", location)
    if len(responses) != len(scores):
        raise UserError(
            f"{location}: {len(responses)} `responses` and {len(scores)} `scores`: give every "
            "response a score"
        )
    levels: dict[float, list[str]] = {score: [] for score in sorted(scores, reverse=True)}
    for response, score in zip(responses, scores, strict=True):
        levels[score].append(response)
    return list(levels.values())


def _named(row: Row, number: int) -> Row:
    named = {**scalar_cells(row), "prompt": row.get("prompt")}
    if number > 1 and "id" in named:
        named["id"] = f"{named['id']}/{number}"
    return named


SOURCE = Source(rows, tuple(CONTESTS))
