"""Rewards of responses that nobody has labelled, as best-of-n and filtering need them.

One JSON object per line, rewards and lengths in the order of the responses::

    {"id": "a", "scores": [0.5, -1.0], "tokens": [12, 9], "truncated": false,
     "prompt": "9f86d081884c7d65", "responses": "1c8bfe8f801d7974"}
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from rewardgap.data.records import Record, prompt_key, responses_id
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, reported
from rewardgap.evaluation.scores import check_finite
from rewardgap.io.files import read_number, whole_file


def write_rewards(path: str | Path, rated: Iterable[tuple[Record, Tree, Sequence[float]]]) -> None:
    """Write unlabelled records, each with its tree and its rewards, whole or not at all.

    Floats round-trip exactly.

    Raises:
        UserError: A reward is not finite, or the file cannot be written.
    """
    with whole_file(Path(path)) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for record, tree, values in rated:
            check_finite(record.id, "scores", tuple(values))
            fields = {
                "id": record.id,
                "scores": list(values),
                "tokens": list(tree.lengths),
                "truncated": tree.truncated,
                "prompt": prompt_key(record),
                "responses": responses_id(record),
            }
            file.write(json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n")


def count_rewards(path: Path) -> tuple[int, int] | None:
    """Return the numbers of responses and of prompts of such a file; None if it has labels."""
    with path.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        first = next(rows)
        if "scores" not in first:
            return None
        counts = [len(row["scores"]) for row in chain([first], rows)]
    return sum(counts), len(counts)


def has_labels(path: Path) -> bool:
    """Return whether a score file is of labelled records, by its first line.

    Raises:
        UserError: It cannot be read.
    """
    with reported((OSError, ValueError), f"{path} is no score file: "):
        with path.open(encoding="utf-8") as lines:
            first = json.loads(next(lines, "{}"))
        return not (isinstance(first, dict) and "scores" in first)


def read_rewards(path: Path) -> dict[str, tuple[float, ...]]:
    """Return by id the rewards of the responses of unlabelled records.

    Raises:
        UserError: It is no such file.
    """
    rewards = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            errors = (KeyError, TypeError, ValueError, RecursionError)
            with reported(errors, f"{path}, line {number}: "):
                row = json.loads(line)
                rewards[str(row["id"])] = tuple(map(read_number, row["scores"]))
    return rewards


def is_unlabelled(records: Sequence[Record]) -> bool:
    """Tell whether records have no labels.

    Raises:
        UserError: Some have labels.
    """
    without = [record for record in records if not record.rejected]
    if without and len(without) < len(records):
        raise UserError(
            f"{len(without)} of {len(records)} records have no labels, first {without[0].id}: "
            "score them apart from the others"
        )
    return bool(without)
