"""What a report of the checks says."""

from rewardgap.checks.findings import CheckFinding, CheckReport


def alarms(report: CheckReport) -> set[str]:
    """The checks that warn, or find an error."""
    return {finding.check for finding in report.findings if finding.severity != "note"}


def named(report: CheckReport, name: str) -> CheckFinding:
    """The one finding of a check."""
    (finding,) = [finding for finding in report.findings if finding.check == name]
    return finding
