"""Words of the command line, for the working directory of the fixture `desk`, and what ends it."""

import os
import signal
from collections.abc import Callable
from itertools import count
from threading import Timer
from typing import Any

from rewardgap.cli import main
from rewardgap.scoring import generation

GOOD = {"prompt": "hi", "chosen": "yes", "rejected": "no"}


def flags(command: str, **values: object) -> list[str]:
    """Words of the command line; two underscores stand for a dot, None leaves a default out."""
    settings: dict[str, object] = {"model": "model", "out": "out", "device": "cpu"}
    if command == "train":
        settings |= {"kind": "explicit", "train": "train.jsonl", "epochs": 1, "batch_size": 4}
    settings |= values
    given = {k.replace("__", "."): str(v) for k, v in settings.items() if v is not None}
    return [command, *(word for k, v in given.items() for word in (f"--{k}", v))]


def run_until(words: list[str], writes: int | None) -> int:
    """Run a command that kills itself before the rename that follows so many others."""
    rename, done = os.replace, count()

    def rename_or_die(*paths: Any, **keywords: Any) -> None:
        if next(done) == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*paths, **keywords)

    os.replace = rename_or_die
    return main(words)


def run_until_after(words: list[str], writes: int | None, delay: float, tokens: int) -> int:
    """Run a command that is killed so many seconds after so many renames; answers are short."""
    generation.MOST_NEW_TOKENS = tokens
    os.replace = counting(os.replace, writes, delay)
    return main(words)


def counting(rename: Callable[..., None], writes: int | None, delay: float) -> Callable[..., None]:
    done = count(1)

    def rename_and_count(*paths: Any, **keywords: Any) -> None:
        rename(*paths, **keywords)
        if next(done) == writes:
            Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    return rename_and_count
