"""The `winners` source: your own rows of two responses and a label of the better one."""

import logging
from typing import Any

from rewardgap.data.columns import scalar_cells, text, wrong_cell
from rewardgap.data.readers import read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

SIDES = {"a": "a", "model_a": "a", "b": "b", "model_b": "b"}
OPPONENTS = {"a": "b", "b": "a"}
TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad")


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read pairs in one of two layouts; rows without a winner are left out and their number logged.

    Args:
        part: "rows".
        path: The data: columns `winner` (A, B, model_a, model_b, in any letter case, or a tie), and
            either `prompt`, `response_a` and `response_b`, or whole conversations
            `conversation_a` and `conversation_b` as LMArena publishes them.

    Raises:
        UserError: There is no path, or a row is broken.
    """
    ties = 0
    for location, row in read_given(path, f"winners:{part}"):
        label = text(row, "winner", location).strip().lower()
        if label in TIES:
            ties += 1
            continue
        if label not in SIDES:
            valid = ", ".join((*SIDES, *TIES))
            raise UserError(
                f"{location}: `winner` must be one of {valid}, not {label!r}: correct it"
            )
        yield location, _pair(row, SIDES[label], location)
    if ties:
        logger.warning("%s: rows left out without a winner: %d", path, ties)


def _pair(row: Row, winner: str, location: str) -> Row:
    sides = (winner, OPPONENTS[winner])
    if row.get("conversation_a") is None:
        chosen, rejected = (text(row, f"response_{side}", location) for side in sides)
        rest = {**scalar_cells(row, "response_a", "response_b"), "prompt": row.get("prompt")}
        return {**rest, "chosen": chosen, "rejected": rejected}
    # The prompt is the common beginning of both conversations.
    first, second = (_conversation(row, f"conversation_{side}", location) for side in sides)
    return {**scalar_cells(row, "prompt"), "chosen": first, "rejected": second}


def _conversation(row: Row, key: str, location: str) -> list[dict[str, str]]:
    """Read messages whose content is a string, or a list of parts that are all text."""
    try:
        return [
            {"role": message["role"], "content": _content(message["content"])}
            for message in row[key]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise wrong_cell(row, key, "a list of text messages {role, content}", location) from error


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if any(part["type"] != "text" for part in value):
        raise ValueError("a part is not text")
    return "".join(part["text"] for part in value)


SOURCE = Source(rows, ("rows",))
