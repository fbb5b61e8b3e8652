"""The command metrics: accuracies of score files, with intervals, baselines and paired tests."""

from rewardgap.commands.command import Command, say_report

METRICS = Command(
    "metrics",
    ".evaluation.table:metrics",
    ".configs.scoring:MetricsConfig",
    say_report,
    "rewardgap metrics runs/explicit runs/implicit",
    positional="scores",
    imports_torch=False,
)
