"""The command plan: what a training or a grid will need, before it is started."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, plan: Any) -> str:
    from rewardgap.planning.text import format_requirements

    return format_requirements(plan)


def _figures(plan: Any) -> Any:
    from rewardgap.planning.text import as_json

    return as_json(plan)


PLAN = Command(
    "plan",
    ".planning.plan:plan",
    ".configs.planning:PlanConfig",
    _say,
    "rewardgap plan experiments/math.yaml --models MODEL --device-name h100 --price 2.50",
    positional="file",
    settings=".configs.training:TrainConfig",
    check=".planning.files:check_plan",
    figures=_figures,
)
