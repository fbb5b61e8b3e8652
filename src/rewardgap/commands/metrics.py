"""The command metrics: accuracies of score files, with intervals, baselines and paired tests."""

from operator import attrgetter

from rewardgap.commands.command import Command, say

METRICS = Command(
    "metrics",
    ".evaluation.table:metrics",
    ".configs.scoring:MetricsConfig",
    say,
    "rewardgap metrics runs/explicit runs/implicit",
    positional="scores",
    figures=attrgetter("figures"),
    imports_torch=False,
)
