"""The command explain: which training pairs and tokens moved a reward."""

from rewardgap.commands.command import Command, say_where

EXPLAIN = Command(
    "explain",
    ".explaining.explain:explain",
    ".configs.forecasting:ExplainConfig",
    say_where,
    "rewardgap explain runs/explicit --data test.jsonl --id ID --out why.html",
    positional="model",
)
