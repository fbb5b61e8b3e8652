"""What the documentation says of the forecast's record is what the suite measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import documentation
from benchmarks import forecast_suite as suite
from rewardgap.forecasting import prediction

RESULTS = json.loads(suite.RESULTS.read_text())


def test_the_documentation_has_the_tables_of_the_results() -> None:
    assert documentation.read_tables(suite.DOCS) == suite.markdown(RESULTS)


def test_of_the_sentences_that_were_said_95_percent_are_true_on_each_model() -> None:
    for model, figures in suite.summary(RESULTS).items():
        true, spoken = map(int, figures["sentences that are true"].split(" of "))
        assert true >= 0.95 * spoken, model


def test_the_intervals_hold_as_often_as_they_say() -> None:
    assert 0.85 <= suite.summary(RESULTS)["all"]["intervals of 90 % that hold"] <= 0.97


def test_the_error_of_the_forecast_is_not_less_than_the_suite_measured() -> None:
    assert suite.calibrate(RESULTS) <= prediction.ERROR


def test_an_error_is_found_again_and_cases_are_held_out() -> None:
    """Two cases of 400 forecasts with an error of 0.8, a third of which records explain."""
    random = np.random.default_rng(0)
    cases = {}
    for case in ("one", "two"):
        z = random.normal(0, 0.5, 400)
        truth = norm.cdf(z + 0.8 * random.normal(size=400))
        deviation = (0.3 + prediction.ERROR**2) ** 0.5
        cases[case] = {
            str(i): {
                "kinds": {
                    "explicit": {
                        **{"z": z[i], "deviation": deviation},
                        **{"measured": [truth[i]], "records": 10**6},
                    }
                }
            }
            for i in range(400)
        }
    assert suite.calibrate(cases) == pytest.approx((0.64 - 0.3) ** 0.5, abs=0.05)
    assert suite.held_out(cases) == pytest.approx(0.9, abs=0.03)
    # A wild forecast of the second case widens the intervals of the first alone: all of them hold.
    cases["two"]["0"]["kinds"]["explicit"]["z"] = 50.0
    assert suite.held_out(cases) == pytest.approx((1 + 0.9) / 2, abs=0.02)


def test_sentences_and_errors_are_counted_by_hand(tmp_path: Path) -> None:
    kinds = {
        kind: {
            **{"forecast": forecast, "theory": 0.5, "z": 0.0, "deviation": 1.0, "records": 100},
            **{"measured": measured, "better_than": better, "fails": fails},
        }
        for kind, forecast, measured, better, fails in (
            ("explicit", 0.9, [0.8, 1.0], ["implicit"], False),
            ("implicit", 0.2, [0.6, 0.4], [], True),
        )
    }
    case = {"set": {"separated": [["explicit", "implicit"]], "kinds": kinds}}
    told = suite.summary({"chat-4m persona": case})["all"]
    assert told["sentences that are true"] == "3 of 4"
    assert told["sentences that could have been said"] == 6
    assert told["better kind named rightly"] == "0 of 1"
    assert told["mean error, forecast"] == 0.15
    assert told["largest error, forecast"] == 0.3
    assert told["trained models they are of"] == 4
