"""The sentences above the charts, and the forecast in words."""

from dataclasses import replace

from grids import REWORDED, ranked, results_of, write_grid

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.reporting.page import section
from rewardgap.reporting.paper.tables import own_table
from rewardgap.reporting.runs import ForecastAccuracy
from rewardgap.reporting.topics import forecasts


def test_who_leads_where_wording_hurts_and_what_is_not_to_be_trusted(known):
    shown = section(known, [], own_table(known))
    leads, wording = [finding.text for finding in shown.headlines]
    assert leads == (
        "Explicit and generative models lead on ultrafeedback-french; no kind is ahead on "
        "ultrafeedback."
    )
    assert wording == (
        "At worst, other wording costs implicit models 0.650 (ultrafeedback-french) of their "
        "accuracy, and explicit and generative models nothing detectable."
    )
    assert shown.outcome == "" and "no form" in shown.in_words


def test_sets_on_which_no_kind_beats_a_baseline_are_named(tmp_path):
    grid = replace(REWORDED, sets={"ultrafeedback": ("in-distribution", None)})
    folder = write_grid(tmp_path, grid, lambda *_: ranked(21, 40))
    results = results_of(folder)
    (caution,) = [f.text for f in section(results, [], own_table(results)).headlines[1:]]
    assert caution.startswith("Some sets are not to be trusted")
    assert "on ultrafeedback (0." in caution


def test_a_forecast_agrees_where_intervals_overlap_and_else_says_by_how_much_it_missed(known):
    made = [
        ForecastAccuracy("m", "ultrafeedback", "explicit", Interval(0.85, 0.8, 0.95), 0.3),
        ForecastAccuracy("m", "ultrafeedback-french", "implicit", Interval(1.0, 0.9, 1.0), 0.3),
    ]
    results = replace(known, forecasts=made)
    entries = forecasts.measure(results)
    assert [entry.in_words for entry in entries] == ["agreed", "missed, 0.750 too high"]
    (sentence,) = forecasts.sentences(results)
    assert sentence.tone == "caution"
    assert sentence.text == (
        "Training agreed with 1 of 2 forecasts; missed implicit on ultrafeedback-french by 0.750 "
        "(forecast 1.000, measured 0.250)."
    )
