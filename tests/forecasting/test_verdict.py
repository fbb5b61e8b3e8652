"""Tables and sentences on forecasts that are made by hand."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accessibility import find_faults
from scipy.stats import norm

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.forecasting.outcome import ForecastOutcome
from rewardgap.forecasting.page import write_page
from rewardgap.forecasting.prediction import CurvePoint, Prediction
from rewardgap.forecasting.rehearsal import Rehearsal, RehearsalPlan, Rehearsed
from rewardgap.forecasting.verdict import (
    Forecasts,
    format_forecast,
    recommend,
    write_list,
)

Accuracies = Mapping[str, Mapping[str, float]]


def theory(accuracy: float, longer: float) -> ForecastOutcome:
    """An outcome of 100 records; the longer response is chosen in the last share of `longer`."""
    rows = [
        ScoreRow(
            *(str(i), (float(i < 100 * accuracy),), (0.5,)),
            (9 if i >= 100 - round(100 * longer) else 7,),
            (8,),
        )
        for i in range(100)
    ]
    at_loss = summarise(rows)
    return ForecastOutcome(
        rows,
        at_loss,
        np.zeros((1, 100)),
        loss=0.3,
        one_step=at_loss.accuracy,
        convergence=at_loss.accuracy,
        separator_share=None,
        token_overlap=0.5,
        curve=[(0.7, 0.5), (0.3, accuracy)],
    )


def prediction(accuracy: float, deviation: float = 0.2) -> Prediction:
    z = float(norm.ppf(accuracy))
    interval = Interval(accuracy, *(float(norm.cdf(z + side * deviation)) for side in (-2, 2)))
    curve = [CurvePoint(step, 0.5, accuracy / 100 * step) for step in (20, 40, 60, 80, 100)]
    return Prediction(interval, curve, 100, z, deviation, 50, 100)


def rehearsed(first: float = 0.7, last: float = 0.4) -> Rehearsed:
    rehearsal = Rehearsal(np.array([50, 100]), np.array([first, last]), {})
    return Rehearsed(RehearsalPlan(2, 1, 50, 2), [rehearsal], 0.05, 1e-6, 32)


def forecasts(
    accuracies: Accuracies,
    by_theory: Accuracies | None = None,
    deviation: float = 0.2,
    longer: float = 0.5,
    losses: Sequence[float] = (0.7, 0.4),
) -> Forecasts:
    """Forecasts by set and kind; theory agrees unless it is given."""
    known = by_theory or accuracies
    kinds = next(iter(accuracies.values()))
    return Forecasts(
        {n: {kind: theory(a, longer) for kind, a in of.items()} for n, of in known.items()},
        {
            name: {kind: prediction(a, deviation) for kind, a in of_set.items()}
            for name, of_set in accuracies.items()
        },
        {kind: rehearsed(*losses) for kind in kinds},
        {name: theory(0.5, longer).at_loss.baselines for name in accuracies},
    )


def say(of: Forecasts) -> str:
    """The sentences, a line each."""
    return "\n".join(recommend(of))


REWORDED = {
    "familiar": {"explicit": 0.95, "implicit": 0.94},
    "reworded": {"explicit": 0.9, "implicit": 0.1},
}


def test_the_kind_is_named_and_where_the_other_fails() -> None:
    words = say(forecasts(REWORDED))
    assert words.splitlines() == [
        "Train explicit: it is expected to be more accurate than implicit on reworded "
        "(by rehearsal; theory agrees).",
        "implicit is expected to prefer the wrong response on reworded "
        "(by rehearsal; theory agrees).",
    ]


def test_a_sentence_says_that_theory_does_not_agree() -> None:
    theory = {
        "familiar": {"explicit": 0.95, "implicit": 0.94},
        "reworded": {"explicit": 0.6, "implicit": 0.6},
    }
    words = say(forecasts(REWORDED, theory)).splitlines()
    assert words[0].endswith("than implicit on reworded (by rehearsal; theory does not agree).")
    assert words[1].endswith("response on reworded (by rehearsal; theory does not agree).")


def test_what_is_not_nearly_certain_is_not_said() -> None:
    """A difference of 1.95 deviations is: 97.5 % of a normal lie below 1.96."""
    for distance, said in ((1.95, False), (1.97, True)):
        other = float(norm.cdf(norm.ppf(0.9) - distance * 0.2 * 2**0.5))
        words = say(forecasts({"set": {"explicit": 0.9, "implicit": other}}))
        assert ("Train explicit" in words) == said
        assert ("does not separate explicit and implicit" in words) != said


def test_nothing_is_advised_where_each_kind_has_its_set() -> None:
    words = say(
        forecasts(
            {"one": {"explicit": 0.9, "implicit": 0.1}, "two": {"explicit": 0.1, "implicit": 0.9}}
        )
    )
    assert "Train" not in words
    assert "explicit is expected to be more accurate than implicit on one (by" in words
    assert "implicit is expected to be more accurate than explicit on two (by" in words


def test_theory_alone_advises_nothing() -> None:
    whole = forecasts(REWORDED)
    alone = Forecasts(whole.theory, {}, {}, whole.rules)
    assert recommend(alone) == []
    assert "nothing is advised" in format_forecast(alone)


def test_theory_that_disagrees_is_named() -> None:
    words = say(forecasts(REWORDED, {**REWORDED, "reworded": {"explicit": 0.0, "implicit": 0.1}}))
    assert (
        "Theory, with fixed hidden states, says otherwise of explicit on reworded (0.00)." in words
    )
    assert "otherwise of implicit" not in words


@pytest.mark.parametrize(
    ("longer", "said"), [(0.5, False), (0.75, False), (0.85, True), (1.0, True)]
)
def test_a_rule_of_length_is_named_where_it_is_near_the_best_kind(
    longer: float, said: bool
) -> None:
    words = say(forecasts({"set": {"explicit": 0.9, "implicit": 0.6}}, longer=longer))
    sentence = f"as often as explicit, or more often, on set ({longer:.2f} of the pairs)"
    assert (sentence in words) == said
    assert "rule" not in words


def test_length_is_not_what_a_kind_has_learnt_that_fails() -> None:
    words = say(forecasts({"set": {"explicit": 0.02, "implicit": 0.01}}, longer=0.8))
    assert "length may be all that is learnt" not in words


@pytest.mark.parametrize(("longer", "said"), [(0.55, False), (0.62, True)])
def test_a_rule_of_length_that_is_chance_is_not_named(longer: float, said: bool) -> None:
    words = say(forecasts({"set": {"explicit": 0.55, "implicit": 0.5}}, longer=longer))
    assert ("length may be all" in words) == said


@pytest.mark.parametrize(
    ("last", "words"), [(0.699, "too small; try 1e-05"), (0.9, "too large; try 1e-07"), (0.5, None)]
)
def test_a_loss_that_does_not_fall_is_said_with_a_rate_that_would_do(
    last: float, words: str | None
) -> None:
    said = say(forecasts(REWORDED, losses=(0.7, last)))
    assert ("does not fall" in said) == (words is not None)
    assert words is None or f"the learning rate 1e-06 is {words}." in said


def test_the_table_has_80_columns_and_a_line_for_every_kind() -> None:
    table = format_forecast(forecasts(REWORDED))
    assert max(map(len, table.splitlines())) <= 80
    lines = table.splitlines()
    assert lines[2] == "explicit: 100 steps of 2 pairs, 5 % of its training; loss 0.70 to 0.40"
    assert lines[-4].split()[0] == "reworded"
    assert lines[-3].split()[:2] == ["explicit", "0.900"]
    assert lines[-3].split()[-6:] == ["0.900", "0.18", "0.36", "0.54", "0.72", "0.90"]
    assert lines[-1].split() == ["(longer", "wins)", "0.500"]


def test_sentences_fit_into_a_terminal() -> None:
    names = {f"a set with a long name, number {i}": REWORDED["reworded"] for i in range(5)}
    lines = write_list(recommend(forecasts(names))).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line[:2] for line in lines if not line.startswith("  ")] == ["- ", "- "]


def test_the_page_says_and_shows_the_same(tmp_path: Path) -> None:
    shown = forecasts(REWORDED | {"<b>": REWORDED["reworded"]})
    write_page(tmp_path / "page.html", shown)
    text = (tmp_path / "page.html").read_text()
    assert len(recommend(shown)) == 2
    for sentence in recommend(shown):
        assert f"<li>{escape(sentence)}</li>" in text
    assert text.count("<svg") == 2 * 3  # against steps and against loss
    assert "<td>0.900 [" in text
    assert "<b>" not in text
    assert "<script" not in text


def test_nothing_keeps_people_from_reading_the_page(browser: Any, tmp_path: Path) -> None:
    long = "a-set-with-a-long-name-" * 4
    write_page(tmp_path / "page.html", forecasts(REWORDED | {long: REWORDED["reworded"]}))
    assert find_faults(browser, tmp_path / "page.html") == []
