"""The command merge: a run's adapter and its base as an ordinary model."""

import shlex

from rewardgap.commands.command import Command, say_where

MERGE = Command(
    "merge",
    ".training.merge:merge",
    ".configs.serving:MergeConfig",
    say_where,
    "rewardgap merge runs/lora models/merged",
    positional="run out",
    advice=lambda config: (
        f"next: rewardgap score {shlex.quote(config.out)} --data DATA --out scores.jsonl"
    ),
)
