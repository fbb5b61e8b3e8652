"""The command line: `rewardgap COMMAND --config FILE.yaml`, where every key is also a flag.

A command is a line in `COMMANDS`: what it does, the class of its configuration, the function that
does it, and what is printed at the end. Nothing heavy is imported before a command is known.
"""

import dataclasses
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rewardgap.errors import UserError, first_line
from rewardgap.kinds import KINDS

ALONE = ("-h", "--help", "--print_config")
BOOLEANS = ("true", "false")


@dataclass(frozen=True)
class Command:
    """One command: `function` and `config` are "module:name", imported when it is called.

    `positional` names the key that words without a flag fill.
    """

    summary: str
    function: str
    config: str
    report: Callable[[Any, Any], str]
    positional: str | None = None


def _say_where(config: Any, written: Any) -> str:
    return f"wrote {written}\n"


def _say_metrics(config: Any, written: Any) -> str:
    """The table of the score files that a command has written."""
    from rewardgap.metrics import summarise
    from rewardgap.metrics_table import format_table
    from rewardgap.scores import read_scores

    files = sorted(written.glob("scores/*.jsonl")) if written.is_dir() else [written]
    summaries = {file.stem: summarise(read_scores(file)) for file in files}
    return f"{format_table(summaries, {}) if files else ''}wrote {written}\n"


def _say_report(config: Any, report: Any) -> str:
    figures, table = report
    return json.dumps(figures, indent=2) + "\n" if config.json else str(table)


def _say_forecast(config: Any, found: Any) -> str:
    return f"{found.table}\n\n{found.verdict}\nwrote {config.out}/forecast.json\n"


def _say_ches(config: Any, scores: Any) -> str:
    """The pairs whose chosen response is displaced most, whatever the lengths."""
    worst = sorted(scores, key=lambda score: -score.length_normalised)[:5]
    lines = [f"{each.length_normalised:12.4g}  {each.id}" for each in worst]
    title = "most displaced (length-normalised CHES score, record):"
    return "\n".join([title, *lines, f"wrote {config.out}", ""])


COMMANDS = {
    "demo": Command(
        "the whole story on a small language model made here, without a download",
        "rewardgap.demo:demo",
        "rewardgap.configs:DemoConfig",
        _say_where,
    ),
    "train": Command(
        "train a reward model, then score and measure it",
        "rewardgap.training:train",
        "rewardgap.configs:TrainConfig",
        _say_metrics,
    ),
    "score": Command(
        "write the rewards of a run, or of a model trained elsewhere",
        "rewardgap.scoring:score",
        "rewardgap.configs:ScoreConfig",
        _say_metrics,
        positional="model",
    ),
    "metrics": Command(
        "accuracy, margin, baselines and paired tests from score files",
        "rewardgap.metrics_table:metrics",
        "rewardgap.configs:MetricsConfig",
        _say_report,
        positional="scores",
    ),
    "explain": Command(
        "why a response got its reward: its tokens and the training pairs that moved it",
        "rewardgap.explain:explain",
        "rewardgap.configs:ExplainConfig",
        _say_where,
        positional="model",
    ),
    "forecast": Command(
        "how accurate each kind would be once trained, from the initial language model alone",
        "rewardgap.forecast:forecast",
        "rewardgap.configs:ForecastConfig",
        _say_forecast,
    ),
    "ches": Command(
        "which training pairs push down their own chosen response (CHES scores)",
        "rewardgap.displacement:ches",
        "rewardgap.configs:ChesConfig",
        _say_ches,
        positional="model",
    ),
    "pretrain": Command(
        "make a small language model and its tokenizer from text",
        "rewardgap.pretraining:pretrain",
        "rewardgap.configs:PretrainConfig",
        _say_where,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, or 2 after a mistake in the input, which is told in one line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if words[0] == "--version":
        print(f"rewardgap {import_module('rewardgap').__version__}")
        return 0
    logging.basicConfig(format="rewardgap: %(message)s", level=logging.WARNING)
    try:
        return _run(words[0], words[1:])
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(
            f"{error.filename or 'input or output'}: {error.strerror or first_line(error)}"
        )
    except KeyboardInterrupt:
        return _fail("interrupted") + 128


def _fail(message: str) -> int:
    print(f"rewardgap: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    lines = ["usage: rewardgap COMMAND [--config FILE.yaml] [--KEY VALUE ...]", "", "commands:"]
    lines += [f"  {name:<10}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", f"kinds of reward model: {', '.join(KINDS)}"]
    lines += ["rewardgap COMMAND --help lists the keys of a command", ""]
    return "\n".join(lines)


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}; the commands are {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    config = _configure(name, command, words)
    result = _find(command.function)(config)
    print(command.report(config, result), end="")
    return 0


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _configure(name: str, command: Command, words: list[str]) -> Any:
    """The command's configuration from flags and YAML; flags win."""
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    config_class = _find(command.config)
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    parser = ArgumentParser(
        prog=f"rewardgap {name}", description=command.summary, exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="a YAML file of the keys below")
    parser.add_class_arguments(config_class)
    try:
        parsed = parser.parse_args(_with_flags(command, fields, words))
    except ArgumentError as error:
        raise UserError(_explain(str(error), list(fields))) from error
    values = parsed.as_dict()
    return config_class(**{key: values[key] for key in fields})


def _with_flags(
    command: Command, fields: dict[str, dataclasses.Field[Any]], words: list[str]
) -> list[str]:
    """The words with the flag of bare words, and "true" after a bare boolean flag."""
    flagged: list[str] = []
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if not word.startswith("-"):
            flagged += _positional(command, fields, word, flagged)
            continue
        flagged.append(word)
        field = fields.get(word.removeprefix("--"))
        if (
            field is not None
            and field.type is bool
            and (not rest or rest[0].lower() not in BOOLEANS)
        ):
            flagged.append("true")
        elif "=" not in word and word not in ALONE and rest:
            flagged.append(rest.popleft())
    return flagged


def _positional(
    command: Command, fields: dict[str, dataclasses.Field[Any]], word: str, so_far: list[str]
) -> list[str]:
    """A bare word under the flag of the command's positional key."""
    key = command.positional
    if key is None:
        raise UserError(f"unexpected {word!r}: give every value with its flag")
    if fields[key].type is not str:
        return [f"--{key}+", word]
    if f"--{key}" in so_far:
        raise UserError(f"unexpected {word!r}: give every further value with its flag")
    return [f"--{key}", word]


def _explain(message: str, keys: list[str]) -> str:
    """A parser's message in one line; for an unknown key with the valid ones."""
    if "not accepted" in message or "unrecognized" in message:
        message += f"; the keys are {', '.join(keys)}"
    return message


if __name__ == "__main__":
    sys.exit(main())
