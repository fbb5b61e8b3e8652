"""What a model answers when it is asked to rewrite a text; the answers are kept on disk."""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rewardgap.errors import UserError, reported
from rewardgap.io.cache import cache_key
from rewardgap.io.files import read_json, write_text

logger = logging.getLogger(__name__)

THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        text: The rewritten text.
        version: The model, as the server names it.
        finish: Why the model stopped: `stop`, `length` or `content_filter`.
        refusal: What a server says in place of an answer.
        tokens_read: Tokens of instruction and text; 0 where a server does not count.
        tokens_written: Tokens of the answer.
    """

    text: str
    version: str
    finish: str = "stop"
    refusal: str = ""
    tokens_read: int = 0
    tokens_written: int = 0


@dataclass(frozen=True)
class NoReply:
    """Why there is no answer."""

    reason: str


def answer_alone(text: str) -> str:
    """Return an answer without the thoughts that a model may write before it."""
    return THOUGHT.sub("", text, count=1).strip()


Keep: TypeAlias = Callable[[int, Reply | NoReply], None]
"""Called with the number of a prompt and the answer to it, as soon as that is there."""


class Rewriter(Protocol):
    """A language model that answers prompts.

    Attributes:
        identity: All that determines its answers but for prompt and seed.
    """

    identity: Mapping[str, Any]

    def answer(self, prompts: Sequence[str], seed: int, keep: Keep) -> None:
        """Answer all prompts, in any order.

        Raises:
            UserError: There will be no answers; those that were kept stay.
        """


class ReplyCache:
    """Answers on disk, a file for each, by what determines them."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self._folder = folder / "rewriting"
        self._identity = sorted(identity.items())

    def _path(self, prompt: str, seed: int) -> Path:
        key = cache_key(self._identity, prompt, seed)
        return self._folder / key[:2] / f"{key}.json"

    def read(self, prompt: str, seed: int) -> Reply | None:
        """Return the answer to a prompt, or None if there is none; a damaged one is none."""
        path = self._path(prompt, seed)
        if not path.exists():
            return None
        try:
            with reported((TypeError, ValueError), f"{path}: "):
                return _reply(read_json(path))
        except UserError as error:
            logger.warning("the answer %s is damaged and is asked for again", error)
            return None

    def write(self, prompt: str, seed: int, reply: Reply) -> None:
        """Keep an answer."""
        text = json.dumps(asdict(reply), ensure_ascii=False)
        write_text(self._path(prompt, seed), text + "\n")


def _reply(values: Mapping[str, Any]) -> Reply:
    reply = Reply(**values)
    wrong = [
        key
        for key, value in asdict(Reply("", "")).items()
        if type(value) is not type(values.get(key))
    ]
    if wrong:
        raise TypeError(f"{wrong[0]} is of another type")
    return reply
