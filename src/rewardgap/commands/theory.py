"""The command theory: the paper's theorems, checked on random tasks."""

from textwrap import fill
from typing import Any

from rewardgap.commands.command import Command


def _figures(report: Any) -> Any:
    return report


def _say(config: Any, report: Any) -> str:
    checks = {name: check for name, check in report.items() if name != "seed"}
    lines = [
        fill(
            f"{name} {'holds' if check['holds'] else 'DOES NOT HOLD'}: {check['checked']}",
            80,
            subsequent_indent="  ",
        )
        for name, check in checks.items()
    ]
    return "\n".join([*lines, f"wrote {config.out}\n"])


THEORY = Command(
    "theory",
    ".dynamics.theorems.theory:theory",
    ".configs.forecasting:TheoryConfig",
    _say,
    "rewardgap theory --out theory",
    figures=_figures,
)
