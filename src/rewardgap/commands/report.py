"""The command report: tables, figures and one page of runs or grids."""

from rewardgap.commands.command import Command, say_where

REPORT = Command(
    "report",
    ".reporting.report:report",
    ".configs.experiments:ReportConfig",
    say_where,
    "rewardgap report runs/explicit runs/implicit --out report",
    positional="folders",
    imports_torch=False,
)
