"""The commands check data and check model: what is wrong, and what it costs."""

from typing import Any

from rewardgap.commands.command import Command, say


def _figures(report: Any) -> Any:
    return report.to_json()


def _status(report: Any) -> int:
    return int(report.status)


CHECK_DATA = Command(
    "check data",
    ".checks.data:check_data",
    ".configs.checks:CheckDataConfig",
    say,
    "rewardgap check data pairs.jsonl --eval.test test.jsonl",
    positional="train",
    status=_status,
    figures=_figures,
    imports_torch=False,
)
CHECK_MODEL = Command(
    "check model",
    ".checks.model:check_model",
    ".configs.checks:CheckModelConfig",
    say,
    "rewardgap check model runs/explicit --data test.jsonl",
    positional="model",
    status=_status,
    figures=_figures,
)
