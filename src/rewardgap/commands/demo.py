"""The command demo: pretrain, run an experiment, report."""

from rewardgap.commands.command import Command, resume_grid, say_where

DEMO = Command(
    "demo",
    ".demonstration:demo",
    ".configs.training:DemoConfig",
    say_where,
    "rewardgap demo --out demo",
    resumed=resume_grid,
)
