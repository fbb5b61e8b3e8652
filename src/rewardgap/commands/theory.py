"""The command theory: the paper's theorems, checked on random tasks."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, report: Any) -> str:
    from rewardgap.evaluation.text import align_columns

    rows = [
        (name, "holds" if check["holds"] else "DOES NOT HOLD")
        for name, check in report.items()
        if name != "seed"
    ]
    return f"{align_columns(rows)}\nwrote {config.out}\n"


THEORY = Command(
    "theory",
    ".dynamics.theorems.theory:theory",
    ".configs.forecasting:TheoryConfig",
    _say,
    "rewardgap theory --out theory",
)
