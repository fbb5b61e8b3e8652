"""The command line: `rewardgap COMMAND --config FILE.yaml`, where every key is also a flag.

A new command is a class in `configs` and an entry in `COMMANDS`, which names the class, the
function and what is printed at the end. Nothing heavy is imported before the command is known.
"""

import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewardgap.configs.flags import (
    Keys,
    as_flags,
    explain_mismatch,
    refuse_nulls,
    similar,
    with_flags,
)
from rewardgap.errors import UserError, first_line
from rewardgap.io.messages import Messages
from rewardgap.models.kinds import KINDS

logger = logging.getLogger("rewardgap.cli")


@dataclass(frozen=True)
class Command:
    """One command; its configuration's docstring is its summary.

    Attributes:
        function: "module:name" of its function, imported when it is called; the module of a command
            of this package may be relative.
        config: "module:name" of the class of its configuration.
        report: Returns what is printed at the end, from the configuration and the result.
        example: How it is called.
        positional: Key that words without a flag fill.
        settings: "module:name" of a class whose keys are flags too and go into the key `settings`.
        status: Returns the exit status from the result, by default 0.
        check: "module:name" of what refuses a configuration before PyTorch is imported.
        advice: Returns what is said behind the report of where to go on.
        resumed: Returns how to go on after an interrupt.
        imports_torch: Whether it needs PyTorch, whose import takes a few seconds.
    """

    function: str
    config: str
    report: Callable[[Any, Any], str]
    example: str = ""
    positional: str | None = None
    settings: str | None = None
    status: Callable[[Any], int] = lambda result: 0
    check: str = ".checks.names:refuse_wrong_names"
    advice: Callable[[Any], str] = lambda config: ""
    resumed: Callable[[Any], str] = lambda config: ""
    imports_torch: bool = True


def _say_where(config: Any, written: Any) -> str:
    return f"wrote {written}\n"


def _say_scores(config: Any, written: Any) -> str:
    """Return what a score file measures, or how many rewards it has if there are no labels."""
    from rewardgap.evaluation.unlabelled import count_rewards

    counts = count_rewards(written)
    if counts is None:
        return _say_metrics(config, written)
    return f"rewards of {counts[0]} responses to {counts[1]} prompts\nwrote {written}\n"


def _say_metrics(config: Any, written: Any) -> str:
    """Return the table of the score files that a command has written."""
    from rewardgap.evaluation.measures import summarise
    from rewardgap.evaluation.scores import read_scores
    from rewardgap.evaluation.table import format_table

    files = sorted(written.glob("scores/*.jsonl")) if written.is_dir() else [written]
    summaries = {file.stem: summarise(read_scores(file)) for file in files}
    return f"{format_table(summaries, {}) if files else ''}wrote {written}\n"


def _say_report(config: Any, report: Any) -> str:
    figures, table = report
    return json.dumps(figures, indent=2) + "\n" if config.json else str(table)


def _say_findings(config: Any, report: Any) -> str:
    return report.to_json() + "\n" if config.json else str(report)


def _say_forecast(config: Any, forecast: Any) -> str:
    parts = [part for part in (forecast.table, forecast.recommendation) if part]
    return "\n\n".join(parts) + f"\nwrote {config.out}/forecast.json\n"


def _say_plan(config: Any, plan: Any) -> str:
    return str(plan.table) if config.dry_run else f"wrote {plan.folder}\n"


def _say_theory(config: Any, report: Any) -> str:
    from rewardgap.evaluation.text import align_columns

    rows = [
        (name, "holds" if check["holds"] else "DOES NOT HOLD")
        for name, check in report.items()
        if name != "seed"
    ]
    return f"{align_columns(rows)}\nwrote {config.out}\n"


def _say_ches(config: Any, scores: Any) -> str:
    """Return the pairs whose chosen response is displaced most, whatever the lengths."""
    from rewardgap.evaluation.text import align_columns

    worst = sorted(scores, key=lambda score: -score.length_normalised)[:5]
    rows = [(f"{score.length_normalised:.4g}", score.id) for score in worst]
    title = "most displaced (length-normalised CHES score, record):"
    lines = [align_columns(rows, right=[0])] if rows else []
    return "\n".join([title, *lines, f"wrote {config.out}\n"])


def _status(report: Any) -> int:
    return int(report.status)


def _advise_on_run(config: Any) -> str:
    if config.eval:
        return _advise_report(config)
    return f"next: rewardgap score {shlex.quote(config.out)} --data DATA --out scores.jsonl"


def _advise_on_grid(config: Any) -> str:
    return "" if config.dry_run else _advise_report(config)


def _advise_report(config: Any) -> str:
    out, page = shlex.quote(config.out), shlex.quote(f"{config.out}-report")
    return f"next: rewardgap report {out} --out {page}"


def _advise_on_model(config: Any) -> str:
    model = shlex.quote(config.out)
    return f"next: rewardgap train --model {model} --kind KIND --train DATA --out RUN"


def _resume_run(config: Any) -> str:
    """Return how a run goes on that was interrupted."""
    steps = sorted(Path(config.out).glob("checkpoints/step-*[0-9]"))
    if not Path(config.out).exists():
        return ""
    done = f"after step {int(steps[-1].name[5:])}" if steps else "from its first step"
    return f": the same command with --resume continues {done}"


def _resume_grid(config: Any) -> str:
    return ": the same command continues with what is not done"


COMMANDS = {
    "demo": Command(
        ".demonstration:demo",
        ".configs.training:DemoConfig",
        _say_where,
        "rewardgap demo --out demo",
        resumed=_resume_grid,
    ),
    "train": Command(
        ".training.train:train",
        ".configs.training:TrainConfig",
        _say_metrics,
        "rewardgap train --model MODEL --kind explicit --train pairs.jsonl --eval.test test.jsonl "
        "--out runs/explicit",
        advice=_advise_on_run,
        resumed=_resume_run,
    ),
    "score": Command(
        ".scoring.scorer:score",
        ".configs.scoring:ScoreConfig",
        _say_scores,
        "rewardgap score runs/explicit --data more.jsonl --out scores.jsonl",
        positional="model",
    ),
    "metrics": Command(
        ".evaluation.table:metrics",
        ".configs.scoring:MetricsConfig",
        _say_report,
        "rewardgap metrics runs/explicit runs/implicit",
        positional="scores",
        imports_torch=False,
    ),
    "check data": Command(
        ".checks.data:check_data",
        ".configs.checks:CheckDataConfig",
        _say_findings,
        "rewardgap check data pairs.jsonl --eval.test test.jsonl",
        positional="train",
        status=_status,
        imports_torch=False,
    ),
    "check model": Command(
        ".checks.model:check_model",
        ".configs.checks:CheckModelConfig",
        _say_findings,
        "rewardgap check model runs/explicit --data test.jsonl",
        positional="model",
        status=_status,
    ),
    "explain": Command(
        ".explaining.explain:explain",
        ".configs.forecasting:ExplainConfig",
        _say_where,
        "rewardgap explain runs/explicit --data test.jsonl --id ID --out why.html",
        positional="model",
    ),
    "forecast": Command(
        ".forecasting.forecast:forecast",
        ".configs.forecasting:ForecastConfig",
        _say_forecast,
        "rewardgap forecast --model MODEL --train pairs.jsonl --eval.test test.jsonl "
        "--out forecast",
    ),
    "theory": Command(
        ".dynamics.theorems.theory:theory",
        ".configs.forecasting:TheoryConfig",
        _say_theory,
        "rewardgap theory --out theory",
    ),
    "report": Command(
        ".reporting.report:report",
        ".configs.experiments:ReportConfig",
        _say_where,
        "rewardgap report runs/explicit runs/implicit --out report",
        positional="folders",
        imports_torch=False,
    ),
    "ches": Command(
        ".explaining.displacement:ches",
        ".configs.forecasting:ChesConfig",
        _say_ches,
        "rewardgap ches MODEL --data pairs.jsonl --out ches.jsonl",
        positional="model",
    ),
    "run": Command(
        ".experiments.run:run",
        ".configs.experiments:RunConfig",
        _say_plan,
        "rewardgap run experiments/math.yaml --profile small --models MODEL --out runs/math",
        positional="experiment",
        settings=".configs.training:TrainConfig",
        check=".experiments.experiment:read_experiment",
        advice=_advise_on_grid,
        resumed=_resume_grid,
    ),
    "pretrain": Command(
        ".training.pretrain:pretrain",
        ".configs.training:PretrainConfig",
        _say_where,
        "rewardgap pretrain --text agreement:dialogues --out models/small",
        advice=_advise_on_model,
    ),
}


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
    print(f"rewardgap: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    lines = ["usage: rewardgap COMMAND [--config FILE.yaml] [--KEY VALUE ...]", "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<13}{_find(command.config).__doc__.splitlines()[0]}")
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

        text = Help(name, _find(command.config), command.positional, command.example)
        print(text, end="")
        return 0
    config = _configure(name, command, words)
    try:
        _find(command.check)(config)
        if sys.stderr.isatty() and command.imports_torch:
            logger.info("loading PyTorch (a few seconds)")
        result = _find(command.function)(config)
        print(command.report(config, result), end="", flush=True)
    except KeyboardInterrupt:
        return _fail(f"interrupted{command.resumed(config)}") + 128
    except UserError as error:
        raise UserError(as_flags(str(error), vars(config))) from error
    if advice := command.advice(config):
        logger.info("%s", advice)
    return command.status(result)


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module, "rewardgap"), attribute)


def _config_file(words: Sequence[str]) -> str:
    """Return the file that `--config` names, or what else the parser reads."""
    following = dict(pairwise(words))
    given = (word.partition("=")[2] for word in words if word.startswith("--config="))
    return next(given, following.get("--config", "the command line"))


def _configure(name: str, command: Command, words: list[str]) -> Any:
    """Return the configuration from flags and YAML; flags win."""
    from jsonargparse import ArgumentError, ArgumentParser

    config_class = _find(command.config)
    further = dataclasses.fields(_find(command.settings)) if command.settings else ()
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
