"""The claim under test: decided by tests, in a line."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from grids import tables

from rewardgap.io.grid_folder import ClaimedLead
from rewardgap.reporting.results import Results
from rewardgap.reporting.topics import claim

FRENCH = "ultrafeedback-french"
HELD = ClaimedLead("explicit", "implicit", FRENCH)
"""36 of 40 records against 10, with every seed."""
CONTRADICTED = ClaimedLead("implicit", "generative", FRENCH)
ALIKE = ClaimedLead("explicit", "implicit", "ultrafeedback")
BELOW_CHANCE = ClaimedLead("chance", "implicit", FRENCH)


def predicting(known: Results, *predicts: ClaimedLead) -> Results:
    return replace(known, experiment=replace(known.experiment, predicts=predicts))


@pytest.mark.parametrize(
    ("predicts", "outcome", "words"),
    [
        (
            [HELD],
            "held",
            "1 of 1 prediction held, the closest: explicit (0.900) is ahead of implicit (0.250) "
            "on ultrafeedback-french by 0.650 [",
        ),
        (
            [HELD, CONTRADICTED],
            "contradicted",
            "1 of 2 predictions contradicted, such as: generative (0.875) is ahead of implicit "
            "(0.250) on ultrafeedback-french by 0.625 [",
        ),
        (
            [HELD, ALIKE],
            "not shown",
            "1 of 2 predictions not shown, such as: explicit (0.900) and implicit (0.900) cannot "
            "be told apart on ultrafeedback, difference 0.000 [",
        ),
        (
            [BELOW_CHANCE],
            "held",
            "1 of 1 prediction held, the closest: chance is ahead of implicit (0.250) on "
            "ultrafeedback-french by 0.250 [",
        ),
        (
            [HELD, ClaimedLead("explicit-mean", "implicit", FRENCH)],
            "not shown",
            "explicit-mean and implicit (0.250) are not both measured on ultrafeedback-french.",
        ),
        ([], "not shown", "The claim is declared in no form that tests can decide"),
    ],
)
def test_the_outcome_and_its_numbers(known, predicts: Sequence[ClaimedLead], outcome, words):
    results = predicting(known, *predicts)
    assert claim.measure(results).outcome == outcome
    assert words in claim.in_words(results)


def test_every_prediction_is_in_the_table(known):
    made = tables(predicting(known, HELD, CONTRADICTED, BELOW_CHANCE))
    table = made["The claim, prediction by prediction"]
    assert [list(row[:3]) for row in table.rows] == [
        [FRENCH, "held", "explicit above implicit"],
        [FRENCH, "contradicted", "implicit above generative"],
        [FRENCH, "held", "chance above implicit"],
    ]


def test_a_difference_that_the_test_alone_finds_is_not_shown(known):
    """The interval, over further runs too, must leave out 0 as well."""
    results = predicting(known, HELD)
    (entry,) = claim.measure(results).decided
    assert entry.comparison is not None and entry.comparison.holm_p < 0.05
    assert entry.comparison.difference.low > 0
