"""Layouts whose conversations are one text, with the speakers' names in it."""

import re
from collections.abc import Iterator

from rewardgap.data.columns import text
from rewardgap.data.layouts.layout import RowLayout, columns, pair
from rewardgap.data.records import Row

HUMAN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
PROMPTER = re.compile(r"(?:\A\s*|\n)(prompter|assistant): ?")
ROLES = {"Human": "user", "Assistant": "assistant", "prompter": "user", "assistant": "assistant"}


def turns(transcript: str, speaker: re.Pattern[str]) -> list[dict[str, str]]:
    """Split a text that begins with a speaker's name into messages; an empty last one is opened."""
    names = speaker.split(transcript)[1:]
    messages = [
        {"role": ROLES[name], "content": said.strip()}
        for name, said in zip(names[::2], names[1::2], strict=True)
    ]
    opened = messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"]
    return messages[:-1] if opened else messages


def _is_transcript(value: object) -> bool:
    return isinstance(value, str) and bool(re.match(r"\s*Human:", value))


def _is_human(row: Row) -> bool:
    """Tell whether the prompt is a transcript, or both responses without a prompt are."""
    if row.get("prompt") is not None:
        is_asked = _is_transcript(row["prompt"])
        return is_asked and all(isinstance(row[key], str) for key in ("chosen", "rejected"))
    sides = row["chosen"], row["rejected"]
    return all(_is_transcript(side) and "\n\nAssistant:" in side for side in sides)


def _human(row: Row) -> Iterator[Row]:
    sides = [_response(text(row, key)) for key in ("chosen", "rejected")]
    prompt = None if row.get("prompt") is None else turns(text(row, "prompt"), HUMAN)
    yield pair(row, prompt, sides, "")


def _response(value: str) -> list[dict[str, str]] | str:
    """Return a transcript's turns, also of its assistant alone, or the text of a response."""
    if HUMAN.match(value):
        return _all_turns(value)
    return value.strip()


def _all_turns(value: str) -> list[dict[str, str]]:
    """Return all turns; an empty response stays, to be refused."""
    messages = turns(value, HUMAN)
    if value.rstrip().endswith("Assistant:"):
        messages.append({"role": "assistant", "content": ""})
    return messages


def _is_prompter(row: Row) -> bool:
    prompt = row["prompt"]
    return isinstance(prompt, str) and prompt.lstrip().startswith("prompter:")


def _prompter(row: Row) -> Iterator[Row]:
    yield pair(row, turns(text(row, "prompt"), PROMPTER), (row["chosen"], row["rejected"]), "")


TRANSCRIPTS = {
    "human-assistant": RowLayout(columns("chosen rejected"), _human, accepts=_is_human),
    "prompter": RowLayout(
        columns("lang parent_id prompt chosen rejected"), _prompter, accepts=_is_prompter
    ),
}
