"""The command rank: the responses to every prompt from the best to the worst."""

from rewardgap.commands.command import Command, say_where

RANK = Command(
    "rank",
    ".scoring.ranking:rank",
    ".configs.scoring:RankConfig",
    say_where,
    "rewardgap rank runs/explicit --data responses.jsonl --top 1 --out best.jsonl",
    positional="model",
)
