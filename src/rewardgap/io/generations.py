"""Responses that a language model wrote, and the shares of them that are correct, on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rewardgap.errors import reported
from rewardgap.io.files import read_json, read_number, write_text


@dataclass(frozen=True)
class Answer:
    """A sampled response to the prompt of the record `id`."""

    id: str
    response: str
    correct: bool


@dataclass(frozen=True)
class CorrectShare:
    """Shares of the correct among a trained and an initial model's responses to `n` prompts.

    `initial` is None if the initial model did not respond.
    """

    correct: float
    initial: float | None
    n: int


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write responses, one JSON object per line."""
    write_text(path, "".join(json.dumps(asdict(answer)) + "\n" for answer in answers))


def read_answers(path: Path) -> list[Answer]:
    """Read what `write_answers` wrote; raise a `UserError` if the file is damaged."""
    errors = (OSError, ValueError, KeyError, TypeError, RecursionError)
    with reported(errors, f"{path} is no file of answers: ", "; remove it"):
        rows = map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
        answers = [Answer(row["id"], row["response"], row["correct"]) for row in rows]
        types = {tuple(map(type, vars(answer).values())) for answer in answers}
        if types - {(str, str, bool)}:
            raise TypeError("a value has another type")
        return answers


def write_shares(path: Path, shares: Mapping[str, CorrectShare]) -> None:
    """Write the shares of correct responses by evaluation set."""
    values = {name: asdict(share) for name, share in shares.items()}
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_shares(path: Path) -> dict[str, CorrectShare]:
    """Read what `write_shares` wrote; raise a `UserError` if the file is damaged."""
    values = read_json(path)
    errors = (ValueError, KeyError, TypeError, AttributeError)
    with reported(errors, f"{path} is no file of generations: ", "; remove it"):
        return {
            name: CorrectShare(
                _share(entry["correct"]),
                None if entry.get("initial") is None else _share(entry["initial"]),
                _count(entry["n"]),
            )
            for name, entry in values.items()
        }


def _count(value: object) -> int:
    count = int(read_number(value))
    if count < 1:
        raise ValueError(f"{count} is no number of prompts")
    return count


def _share(value: object) -> float:
    share = read_number(value)
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is no share")
    return share
