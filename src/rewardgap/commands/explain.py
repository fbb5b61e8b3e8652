"""The command explain: which training pairs and tokens moved a reward."""

from textwrap import fill
from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, explained: Any) -> str:
    lines = "\n".join(fill(line, 80) for line in str(explained).splitlines())
    return f"{lines}\nwrote {config.out}\n"


def _figures(explained: Any) -> Any:
    return {"summary": str(explained), **explained.explanation.to_json()}


EXPLAIN = Command(
    "explain",
    ".explaining.explain:explain",
    ".configs.forecasting:ExplainConfig",
    _say,
    "rewardgap explain runs/explicit --data test.jsonl --row 12 --out why.html",
    positional="model",
    figures=_figures,
)
