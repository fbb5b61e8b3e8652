"""The command robustness: what other wording costs reward models."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, result: Any) -> str:
    return f"{result}\nwrote {config.out}/robustness.html\n"


def _figures(result: Any) -> Any:
    return {"effects": result.rows(), "conclusion": result.conclusion}


ROBUSTNESS = Command(
    "robustness",
    ".perturbing.robustness:robustness",
    ".configs.robustness:RobustnessConfig",
    _say,
    "rewardgap robustness runs/explicit --data test.jsonl --shifts typos greeting --out robustness",
    positional="model",
    figures=_figures,
)
