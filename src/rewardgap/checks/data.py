"""`rewardgap check data`: what is wrong with preference data; a quick look before training.

A new check of data is a function of `CheckedData` and an entry in `DATA_CHECKS`; a program outside
the package calls `register_data_check`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

from rewardgap.checks.data_sets import CheckedData, CheckedSet
from rewardgap.checks.findings import Check, CheckFinding, CheckReport, register
from rewardgap.checks.pairs import (
    find_contradictions,
    find_duplicates,
    find_empty,
    find_identical,
    find_ids,
    find_length_rules,
    find_lengths,
    find_markup,
    find_refused,
    find_shared,
    find_ties,
    find_unchanged,
)
from rewardgap.checks.texts import find_languages, find_near, find_word_rule
from rewardgap.checks.truncation import find_truncated
from rewardgap.configs.checks import CheckDataConfig
from rewardgap.configs.compute import Identical
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError

logger = logging.getLogger(__name__)

DATA_CHECKS: list[Check] = [
    Check("refused rows", find_refused),
    Check("identical responses", find_identical),
    Check("empty responses", find_empty),
    Check("repeated ids", find_ids),
    Check("shared with training", find_shared),
    Check("score ties", find_ties),
    Check("duplicates", find_duplicates),
    Check("contradictions", find_contradictions),
    Check("unchanged responses", find_unchanged),
    Check("template in texts", find_markup),
    Check("length outliers", find_lengths),
    Check("baselines", find_length_rules),
    Check("bag of words", find_word_rule, slow=True),
    Check("nearly shared with training", find_near, slow=True),
    Check("languages", find_languages, slow=True),
    Check("truncated", find_truncated, slow=True),
]

QUICK_ROWS = 200_000
"""Rows of each set that the look before training reads."""
SHOWN = 3
"""Findings that it prints."""


def register_data_check(check: Check) -> None:
    """Add a check of data, whose `find` is called with a `CheckedData`.

    Raises:
        UserError: There is a check of this name.
    """
    register(check, DATA_CHECKS)


@by_keywords(CheckDataConfig)
def check_data(config: CheckDataConfig) -> CheckReport:
    """Check training and evaluation data.

    Raises:
        UserError: The data or the model cannot be opened.
    """
    identical = config.identical_pairs
    train = CheckedSet("train", tuple(config.train), identical=identical)
    data = CheckedData(
        train if config.train else None,
        {name: CheckedSet(name, (spec,), None, identical) for name, spec in config.eval.items()},
        config.model,
        config.max_length,
        config.template,
    )
    counts = ", ".join(f"{checked.name} ({len(checked.digest.ids):,})" for checked in data.sets)
    return CheckReport.of(f"records of {counts}", _findings(data, config.quick))


def _findings(data: CheckedData, quick: bool) -> Iterator[CheckFinding]:
    for check in DATA_CHECKS:
        if not (quick and check.slow):
            yield from check.find(data)


def warn_of_data(
    train: str | Sequence[str], evaluation: Mapping[str, str], identical: Identical = "refuse"
) -> None:
    """Log in a few lines what the quick checks find in a run's data; nothing is changed.

    Of every set at most `QUICK_ROWS` rows are read, one by one. What the run itself refuses or
    counts is left to it.
    """
    specs = (train,) if isinstance(train, str) else tuple(train)
    data = CheckedData(
        CheckedSet("train", specs, QUICK_ROWS, identical),
        {
            name: CheckedSet(name, (spec,), QUICK_ROWS, identical)
            for name, spec in evaluation.items()
        },
    )
    try:
        report = CheckReport.of("", _findings(data, quick=True))
    except UserError as error:
        logger.warning("the data could not be looked at before training: %s", error)
        return
    findings = [finding for finding in report.findings if finding.severity != "note"]
    for finding in findings[:SHOWN]:
        logger.warning("%s", finding.what)
    if findings:
        logger.warning(
            "rewardgap check data says what this costs and how to mend it%s",
            f", and {len(findings) - SHOWN} more" if len(findings) > SHOWN else "",
        )
