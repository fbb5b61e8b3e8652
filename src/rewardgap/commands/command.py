"""What a command is, and what several commands print at the end."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command; its configuration's docstring is its summary.

    Attributes:
        name: One word or two.
        function: "module:name" of its function, imported when it is called; the module of a command
            of this package may be relative.
        config: "module:name" of the class of its configuration.
        report: Returns what is printed at the end, from the configuration and the result.
        example: How it is called.
        positional: Key that words without a flag fill; or several, with spaces between.
        settings: "module:name" of a class whose keys are flags too and go into the key `settings`.
        status: Returns the exit status from the result, by default 0.
        check: "module:name" of what refuses a configuration before PyTorch is imported.
        figures: Returns what is printed as JSON instead, with the key `json`, from the result.
        advice: Returns what is said behind the report of where to go on.
        resumed: Returns how to go on after an interrupt.
        imports_torch: Whether it needs PyTorch, whose import takes a few seconds.
    """

    name: str
    function: str
    config: str
    report: Callable[[Any, Any], str]
    example: str = ""
    positional: str | None = None
    settings: str | None = None
    status: Callable[[Any], int] = lambda result: 0
    check: str = ".checks.names:refuse_wrong_names"
    figures: Callable[[Any], Any] | None = None
    advice: Callable[[Any], str] = lambda config: ""
    resumed: Callable[[Any], str] = lambda config: ""
    imports_torch: bool = True

    def text(self, config: Any, result: Any) -> str:
        """Return what is printed of a result."""
        if self.figures is None or not config.json:
            return self.report(config, result)
        return json.dumps(self.figures(result), indent=2, ensure_ascii=False) + "\n"


def find(name: str) -> Any:
    """Return what "module:name" stands for; a module that begins with a dot is of this package."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module, "rewardgap"), attribute)


def say_where(config: Any, written: Any) -> str:
    """Return where a command has written."""
    return f"wrote {written}\n"


def say_metrics(config: Any, written: Any) -> str:
    """Return the table of the score files that a command has written."""
    from rewardgap.evaluation.measures import summarise
    from rewardgap.evaluation.scores import read_scores
    from rewardgap.evaluation.table import format_table

    files = sorted(written.glob("scores/*.jsonl")) if written.is_dir() else [written]
    summaries = {file.stem: summarise(read_scores(file)) for file in files}
    return f"{format_table(summaries, {}) if files else ''}wrote {written}\n"


def say(config: Any, result: Any) -> str:
    """Return a result as text."""
    return str(result)


def advise_report(config: Any) -> str:
    """Return the command that makes a report of what was written."""
    out, page = shlex.quote(config.out), shlex.quote(f"{config.out}-report")
    return f"next: rewardgap report {out} --out {page}"


def resume_grid(config: Any) -> str:
    """Return how a grid goes on after an interrupt."""
    return ": the same command continues with what is not done"
