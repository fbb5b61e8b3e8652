"""Tables and recommendations on forecast outcomes that are made by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.forecasting.outcome import ForecastOutcome
from rewardgap.forecasting.recommendation import format_forecast, recommend

Array = np.ndarray


def outcome(
    right: int, total: int = 100, longer: float = 0.5, noise: float = 0.0
) -> ForecastOutcome:
    """An outcome whose first `right` of `total` records are ranked rightly.

    The longer response is the chosen one in the last share of `longer`.
    """
    rows = [
        ScoreRow(
            str(i),
            (float(i < right),),
            (0.5,),
            (9 if i >= total - round(longer * total) else 7,),
            (8,),
        )
        for i in range(total)
    ]
    at_loss = summarise(rows)
    return ForecastOutcome(
        rows,
        at_loss,
        resamples(rows, noise),
        loss=0.3,
        one_step=at_loss.accuracy,
        convergence=at_loss.accuracy,
        separator_share=right / total,
        token_overlap=0.5,
        curve=[],
    )


def resamples(rows: Sequence[ScoreRow], noise: float) -> Array:
    """Accuracies of the records in four resamples, whose means differ by ± `noise`."""
    accuracies = np.array([float(row.scores_chosen > row.scores_rejected) for row in rows])
    return accuracies + np.array([[noise], [-noise], [noise], [-noise]])


def test_recommendation_names_the_kind_and_where_it_fails() -> None:
    words = recommend(
        {
            "familiar": {"explicit": outcome(95), "implicit": outcome(94)},
            "reworded": {"explicit": outcome(90), "implicit": outcome(10)},
        },
        0.3,
    )
    assert "Train explicit: it is expected to be more accurate than implicit on reworded." in words
    assert "implicit is expected to fail, preferring the wrong response, on reworded." in words
    assert "explicit is expected to fail" not in words
    assert "content-blind" not in words


def test_recommendation_on_noise_recommends_nothing_and_names_the_rule_that_does_better() -> None:
    chat = {kind: outcome(n, longer=0.6) for kind, n in (("explicit", 51), ("implicit", 48))}
    words = recommend({"chat": chat}, 0.3)
    assert "do not separate explicit and implicit on any set" in words
    assert "Train" not in words
    assert "explicit cannot be told from guessing on chat." in words
    # Right where explicit is wrong in 49 records, wrong where it is right in 40: chance.
    assert (
        "On chat the content-blind rule 'longer' scores higher than any kind, though not beyond "
        "chance: 0.600" in words
    )


@pytest.mark.parametrize(("noise", "beyond"), [(0.0, True), (0.5, False)])
def test_a_rule_does_better_only_beyond_chance(noise: float, beyond: bool) -> None:
    """By 49 records to 5; with the noise other training pairs would undo it."""
    kinds = {name: outcome(n, longer=0.95, noise=noise) for name, n in (("a", 51), ("b", 48))}
    words = recommend({"chat": kinds}, 0.3)
    assert ("'longer' does better than any kind: 0.950" in words) == beyond
    assert ("though not beyond chance" in words) != beyond


def test_training_pairs_that_cannot_be_separated_get_a_line() -> None:
    found = {"explicit": outcome(90), "implicit": replace(outcome(90), separator_share=None)}
    assert "pairs are not separable for implicit: no weights" in recommend({"set": found}, 0.3)
    assert "not separable" not in recommend({"set": {"explicit": outcome(90)}}, 0.3)
    lines = format_forecast({"set": found}, 0.3).splitlines()
    assert lines[2].endswith("  0.900")
    assert lines[3].endswith("  not separable")


def test_recommendation_does_not_choose_what_other_training_pairs_would_undo() -> None:
    """An accuracy of 0.9 against 0.6 is beyond chance over records, not over training pairs."""
    one = {"chat": {"explicit": outcome(90), "implicit": outcome(60)}}
    assert "Train explicit" in recommend(one, 0.3)
    one = {"chat": {"explicit": outcome(90, noise=0.2), "implicit": outcome(60)}}
    assert "do not separate explicit and implicit on any set" in recommend(one, 0.3)


def test_recommendation_does_not_choose_where_each_kind_has_its_set() -> None:
    words = recommend(
        {
            "one": {"explicit": outcome(90), "implicit": outcome(10)},
            "other": {"explicit": outcome(10), "implicit": outcome(90)},
        },
        0.3,
    )
    assert "No kind is better than all others" in words
    assert (
        "explicit is better than implicit on one; implicit is better than explicit on other"
        in words
    )


def test_one_kind_is_not_compared() -> None:
    assert "Only explicit was forecast" in recommend({"set": {"explicit": outcome(90)}}, 0.3)


def test_table_has_a_line_for_every_kind_and_rule() -> None:
    table = format_forecast({"set": {"explicit": outcome(90), "implicit": outcome(10)}}, 0.3)
    title, name, *lines = table.splitlines()
    assert title.split() == ["one", "step", "loss", "0.3", "convergence", "u*"]
    assert name == "set (token overlap 0.50)"
    assert [line.split()[0] for line in lines] == [
        *("explicit", "implicit", "(longer)", "(shorter)", "(constant)")
    ]
    assert lines[0].count("0.900 [") == 3
