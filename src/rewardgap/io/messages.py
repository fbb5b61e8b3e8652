"""Messages on standard error: how much of them a command gives, and in what form."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rewardgap.errors import UserError

MAIN = "0"
"""Rank of the process that speaks for all."""


@dataclass(frozen=True)
class Messages:
    """Which messages are given, and the seconds between two lines of progress."""

    level: int = logging.INFO
    seconds: float = 30.0

    @classmethod
    def of(cls, words: list[str]) -> "Messages":
        """Return what --quiet, --verbose and --log-every say, and take them out of the words.

        Raises:
            UserError: There are no seconds behind --log-every, or both other flags.
        """
        level, seconds = logging.INFO, 30.0
        if "--quiet" in words and "--verbose" in words:
            raise UserError("--quiet and --verbose exclude each other")
        for flag, named in (("--quiet", logging.WARNING), ("--verbose", logging.DEBUG)):
            while flag in words:
                words.remove(flag)
                level = named
        for place, word in enumerate(words):
            flag, equals, value = word.partition("=")
            if flag in ("--log-every", "--log_every"):
                taken = words[place : place + (1 if equals else 2)]
                seconds = _read_seconds(value if equals else "".join(taken[1:]))
                del words[place : place + len(taken)]
                break
        return cls(level if os.environ.get("RANK", MAIN) == MAIN else logging.ERROR, seconds)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Print messages while the context lasts; a warning that is repeated, only once."""
        from rewardgap.io.progress import SECONDS_PER_LINE

        form = "%(asctime)s %(name)s: %(message)s" if self.level == logging.DEBUG else "%(message)s"
        logging.basicConfig(format=form, level=logging.WARNING, handlers=[_handler()])
        logger = logging.getLogger("rewardgap")
        before, token = logger.level, SECONDS_PER_LINE.set(self.seconds)
        logger.setLevel(self.level)
        try:
            yield
        finally:
            logger.setLevel(before)
            SECONDS_PER_LINE.reset(token)


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UserError(f"--log-every takes seconds, such as --log-every 10; it is {text!r}")
    return seconds


def _handler() -> logging.Handler:
    handler, shown = Lines(), set[str]()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(shown)
        if record.levelno >= logging.WARNING:
            shown.add(record.getMessage())
        return record.levelno < logging.WARNING or len(shown) > before

    handler.addFilter(is_new)
    return handler


class Lines(logging.StreamHandler[TextIO]):
    """Writes messages above the bars that are shown; warnings begin with the program's name."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if "tqdm" not in sys.modules or not sys.stderr.isatty():  # there are no bars
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a message."""
        text = super().format(record)
        return f"rewardgap: {text}" if record.levelno >= logging.WARNING else text
