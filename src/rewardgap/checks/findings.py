"""Findings of the checks: what is wrong, what it costs, how to mend it; as sentences or JSON."""

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

from rewardgap.errors import UserError
from rewardgap.evaluation.text import counted
from rewardgap.io.notebook import NotebookResult

Severity = Literal["note", "warning", "error"]
STATUS: dict[Severity, int] = {"note": 0, "warning": 3, "error": 4}
"""Exit status of the worst finding; 1 and 2 are those of mistakes on the command line."""

EXAMPLES = 3
WIDTH = 80


@dataclass(frozen=True)
class CheckFinding:
    """One thing that was found.

    Attributes:
        severity: "error" where results would be wrong or the data refused, "warning" where they
            may mislead, "note" where it is good to know.
        check: Name of the check that found it.
        what: What is wrong, in one sentence, with how often.
        cost: What it costs on the rows that were read.
        remedy: How to mend it.
        examples: Ids of the first records of which it is true.
    """

    severity: Severity
    check: str
    what: str
    cost: str = ""
    remedy: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A check by its name, as an entry of a registry.

    Attributes:
        name: What findings call it.
        find: Returns findings; called with what is checked.
        slow: Whether it is left out of a quick look.
    """

    name: str
    find: Callable[[Any], Iterable[CheckFinding]]
    slow: bool = False


def register(check: Check, checks: list[Check]) -> None:
    """Add a check to a registry.

    Raises:
        UserError: There is a check of this name.
    """
    if any(known.name == check.name for known in checks):
        raise UserError(f"there is a check named {check.name!r} already; choose another name")
    checks.append(check)


@dataclass(frozen=True, repr=False)
class CheckReport(NotebookResult):
    """All findings about what was checked, the worst ones first.

    Attributes:
        subject: What was checked, in words.
        findings: The findings.
    """

    subject: str
    findings: tuple[CheckFinding, ...]

    @classmethod
    def of(cls, subject: str, findings: Iterable[CheckFinding]) -> "CheckReport":
        """Return the report of findings in any order."""
        ordered = sorted(findings, key=lambda finding: -STATUS[finding.severity])
        return cls(subject, tuple(ordered))

    @property
    def status(self) -> int:
        """The exit status of the worst finding."""
        return max((STATUS[finding.severity] for finding in self.findings), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {"subject": self.subject, "status": self.status, "findings": self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each finding."""
        return [asdict(finding) for finding in self.findings]

    @property
    def totals(self) -> str:
        """How many findings there are of each severity, in words."""
        counts = Counter(finding.severity for finding in self.findings)
        totals = (
            counted(counts[severity], severity) for severity in reversed(STATUS) if counts[severity]
        )
        return ", ".join(totals) or "nothing found"

    def __repr__(self) -> str:
        return f"CheckReport({self.subject}: {self.totals})"

    def __str__(self) -> str:
        blocks = ["\n".join(_lines(finding)) for finding in self.findings]
        ending = textwrap.fill(f"{self.subject}: {self.totals}", WIDTH)
        return "\n\n".join([*blocks, ending]) + "\n"


def _lines(finding: CheckFinding) -> Iterator[str]:
    """Yield the lines of a finding, at most `WIDTH` wide."""
    texts = {
        "": f"{finding.severity.upper()} {finding.check}: {finding.what}",
        "costs: ": finding.cost,
        "mend: ": finding.remedy,
        "such as: ": ", ".join(finding.examples),
    }
    for label, text in texts.items():
        if text:
            indent = "  " if label else ""
            yield textwrap.fill(
                label + text, WIDTH, initial_indent=indent, subsequent_indent="    "
            )


def first_few(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the first few different ids, as examples of a finding."""
    return tuple(islice(dict.fromkeys(ids), EXAMPLES))


def beyond_chance(accuracy: float, count: int) -> bool:
    """Return whether fewer than 1 in 200 fair coins are right so often, of `count` records."""
    return accuracy - 0.5 > 1.29 / math.sqrt(count)
