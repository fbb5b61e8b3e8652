"""The command line: `rewardgap COMMAND --config FILE.yaml`, where every key is also a flag.

Nothing heavy is imported before the command is known.
"""

import atexit
import dataclasses
import gc
import logging
import os
import sys
import time
from collections.abc import Collection, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

from rewardgap.commands import COMMANDS
from rewardgap.commands.command import Command, find
from rewardgap.configs.flags import (
    Keys,
    as_flags,
    explain_mismatch,
    refuse_nulls,
    shown_flag,
    similar,
    with_flags,
)
from rewardgap.errors import UserError, first_line
from rewardgap.io.messages import MAIN, Messages
from rewardgap.models.kinds import KINDS

logger = logging.getLogger("rewardgap.cli")

MEMORY_KEYS = {
    "token_budget": "lower",
    "batch_tokens": "lower",
    "gradient_checkpointing": "set",
    "max_length": "lower",
}
"""The keys by which a command needs less memory of a GPU, and what to do with them."""

AFTER_MAIN = 5.0
"""Seconds that a process waits before it says what is wrong, where another one speaks for all."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0; 2 after a mistake in the input, which is printed in one line; 3 and 4
        where a check warns, or finds an error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(_overview(), end="", file=sys.stderr)
        return 2
    if words[0] == "help":  # rewardgap help train
        words = [*words[1:], "--help"]
    if words[0] in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if words[0] == "--version":
        print(f"rewardgap {import_module('rewardgap').__version__}")
        return 0
    if " ".join(words[:2]) in COMMANDS:
        words[:2] = [" ".join(words[:2])]
    try:
        with Messages.of(words).shown():
            return _run(words[0], words[1:])
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        where = error.filename or "input or output"
        return _fail(f"{where}: {error.strerror or first_line(error)}")
    except KeyboardInterrupt:
        return _fail("interrupted") + 128


def _fail(message: str) -> int:
    rank = os.environ.get("RANK", MAIN)
    if rank != MAIN:  # the main process says the same, and whatever started them ends this one
        time.sleep(AFTER_MAIN)
        message = f"process {rank}: {message}"
    print(f"rewardgap: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    lines = ["usage: rewardgap COMMAND [--config FILE.yaml] [--KEY VALUE ...]", "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<13}{find(command.config).__doc__.splitlines()[0]}")
    lines += ["", f"kinds of reward model: {', '.join(KINDS)}"]
    lines += ["rewardgap help COMMAND explains the keys of a command, with an example", ""]
    return "\n".join(lines)


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        likely = " or ".join(
            similar(" ".join([name, *words[:1]]), COMMANDS) or similar(name, COMMANDS)
        )
        hint = f"did you mean {likely}?" if likely else f"the commands are {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {name!r}; {hint}")
    command = COMMANDS[name]
    if {"-h", "--help"} & set(words):
        from rewardgap.configs.help import Help

        text = Help(name, find(command.config), command.positional, command.example)
        print(text, end="")
        return 0
    config = _configure(name, command, words)
    atexit.register(gc.freeze)  # or the exit takes a second to look for garbage among modules
    try:
        find(command.check)(config)
        if sys.stderr.isatty() and command.imports_torch:
            logger.info("loading PyTorch (a few seconds)")
        result = find(command.function)(config)
        if os.environ.get("RANK", MAIN) == MAIN:  # others may end before everything is written
            print(command.text(config, result), end="", flush=True)
    except KeyboardInterrupt:
        return _fail(f"interrupted{command.resumed(config)}") + 128
    except UserError as error:
        raise UserError(as_flags(str(error), vars(config))) from error
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise UserError(_out_of_memory(error, vars(config))) from error
    if advice := command.advice(config):
        logger.info("%s", advice)
    return command.status(result)


def _out_of_memory(error: Exception, keys: Collection[str]) -> str:
    """Return that a GPU has too little memory, and what needs less among the keys of a command."""
    remedies = [f"{verb} {shown_flag(key)}" for key, verb in MEMORY_KEYS.items() if key in keys]
    remedy = ", or ".join(remedies) or "choose a smaller model, or --device cpu"
    cause = first_line(error).partition(" Including")[0]  # advice on torch's allocator follows
    return f"the GPU has too little memory: {remedy} ({cause})"


def _config_file(words: Sequence[str]) -> str:
    """Return the file that `--config` names, or what else the parser reads."""
    following = dict(pairwise(words))
    given = (word.partition("=")[2] for word in words if word.startswith("--config="))
    return next(given, following.get("--config", "the command line"))


def _configure(name: str, command: Command, words: list[str]) -> Any:
    """Return the configuration from flags and YAML; flags win."""
    from jsonargparse import ArgumentError, ArgumentParser

    config_class = find(command.config)
    further = dataclasses.fields(find(command.settings)) if command.settings else ()
    fields, settings = (
        {field.name: field for field in declared}
        for declared in (dataclasses.fields(config_class), further)
    )
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, add_help=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(config_class)
    try:
        parsed = parser.parse_args(with_flags(words, Keys(fields, settings, command.positional)))
    except ArgumentError as error:
        message = explain_mismatch(str(error), fields | settings, name)
        hint = f"; see rewardgap {name} --help" if message.startswith("required: ") else ""
        raise UserError(message + hint) from error
    except UserError:
        raise
    except Exception as error:  # the parser lets errors of YAML and of text encodings through
        raise UserError(f"{_config_file(words)} cannot be read: {first_line(error)}") from error
    values = parsed.as_dict()
    refuse_nulls(values, fields)
    return config_class(**{key: values[key] for key in fields})


if __name__ == "__main__":
    sys.exit(main())
