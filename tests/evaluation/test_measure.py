"""A measure is one file: registered from outside, it is in the table and in the model card."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.measures import MEASURES, Measure, ScoredRuns, register_measure, summarise
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.evaluation.table import metrics
from rewardgap.training.model_card import model_card

ROWS = [
    ScoreRow("a", (1.0,), (0.0,), (5,), (3,)),
    ScoreRow("b", (0.0,), (1.0,), (3,), (9,)),
    ScoreRow("c", (1.0,), (1.0,), (4,), (8,)),
    ScoreRow("d", (0.3,), (0.0,), (2,), (1,)),
]


def share_of_clear_wins(scored: ScoredRuns) -> Interval:
    gaps = [[chosen[0] - rejected[0] for chosen, rejected in run] for run in scored.rewards]
    return scored.mean((np.array(gaps).T > 0.5).astype(float))


CLEAR = Measure(
    name="clear_wins",
    title="clear wins",
    meaning="share of records won by more than a half",
    compute=share_of_clear_wins,
)


@pytest.fixture
def registered() -> Iterator[None]:
    known = list(MEASURES)
    register_measure(CLEAR)
    yield
    MEASURES[:] = known


def test_the_measures_of_the_package():
    assert [measure.name for measure in MEASURES] == [
        "accuracy",
        "margin",
        "separation",
        "where_longer_fails",
        "best_of_n",
        "best_of_n_by_chance",
    ]


def test_a_measure_from_outside_is_in_metrics_table_and_card(registered: None, tmp_path: Path):
    path = tmp_path / "scores.jsonl"
    write_scores(path, ROWS)
    report, table = metrics(MetricsConfig(scores=[str(path)]))
    summary = report[str(path)]
    assert summary["clear_wins"]["value"] == 0.25
    (line,) = [line for line in table.splitlines() if line.startswith("  clear wins")]
    assert line.split()[2:3] == ["0.250"]
    config = TrainConfig(model="m", kind="explicit", train="t.jsonl", out="o")
    lines = model_card(config, 1, {"test": summary}, None).splitlines()
    (heading,) = [line for line in lines if line.startswith("| set |")]
    (row,) = [line for line in lines if line.startswith("| test |")]
    assert (heading.split(" | ")[-1], row.split(" | ")[-1]) == ("clear wins |", "0.250 |")
    assert "clear wins: share of records won by more than a half" in "\n".join(lines)


def test_other_figures_stay_the_same_to_the_bit(registered: None):
    enlarged = summarise(ROWS).to_json()
    MEASURES.remove(CLEAR)
    figures = summarise(ROWS).to_json()
    assert {key: enlarged[key] for key in figures} == figures
    assert list(figures) == [
        "n",
        "ties",
        "accuracy",
        "margin",
        "separation",
        "baselines",
        "where_longer_fails",
    ]


def test_a_measure_that_the_records_do_not_allow_is_left_out(registered: None):
    register_measure(Measure("never", "never", "no figure", lambda scored: None, is_column=True))
    assert "never" not in summarise(ROWS).to_json()


def best_of(name, chosen, rejected, subset="Math"):
    return ScoreRow(name, (chosen,), rejected, subset=subset)


BENCHMARK = [
    best_of("a", 3.0, (2.0, 1.0, 0.0)),  # first
    best_of("b", 1.0, (2.0, 0.0, 0.0)),  # second
    best_of("c", 2.0, (2.0, 2.0, 1.0), "Focus"),  # one of three equal ones
    best_of("d", 0.0, (0.0, 0.0, 0.0), "Focus"),  # one of four
    ScoreRow("e", (1.0, 0.0), (-1.0, -2.0), subset="Ties"),  # several right ones do not count,
    best_of("f", 1.0, (0.0, -1.0), "Ties"),  # nor does their subset
]


def test_best_of_n_by_hand():
    figures = summarise(BENCHMARK).figures
    assert figures["best_of_n"].value == pytest.approx((1 + 0 + 1 / 3 + 1 / 4) / 4)
    assert figures["best_of_n_by_chance"] == Interval(0.25, 0.25, 0.25)
    pairs = [1, 2 / 3, (0.5 + 0.5 + 1) / 3, 0.5, 1, 1]
    assert figures["accuracy"].value == pytest.approx(sum(pairs) / 6)
    other = [ScoreRow("x", (1.0,), (0.0, 0.5)), ScoreRow("y", (0.0,), (0.0, 1.0, 2.0))]
    figures = summarise(other).figures
    assert figures["best_of_n"].value == 0.5
    assert figures["best_of_n_by_chance"].value == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert "best_of_n" not in summarise(ROWS).figures


def test_best_of_n_is_a_mean_over_runs():
    second = [replace(row, scores_chosen=(9.0,) * len(row.scores_chosen)) for row in BENCHMARK]
    figure = summarise(BENCHMARK, second).figures["best_of_n"]
    assert figure.value == pytest.approx(((1 + 1 / 3 + 1 / 4) / 4 + 1) / 2)


def test_figures_of_subsets(tmp_path: Path):
    path = tmp_path / "scores.jsonl"
    write_scores(path, BENCHMARK)
    report, table = metrics(MetricsConfig(scores=[str(path)]))
    subsets = report[str(path)]["subsets"]
    assert {title: figure["value"] for title, figure in subsets.items()} == pytest.approx(
        {"best of n, Focus": 7 / 24, "best of n, Math": 0.5, "accuracy, Ties": 1.0}
    )
    assert "  best of n, Math" in table
    write_scores(path, BENCHMARK[:2])
    report, table = metrics(MetricsConfig(scores=[str(path)]))
    assert "subsets" not in report[str(path)], "there is one subset only"
    assert "best of n  " in table and "best of n by chance" in table


def test_a_name_is_taken_once(registered: None):
    with pytest.raises(UserError, match="a measure named 'accuracy' already"):
        register_measure(Measure("accuracy", "accuracy", "twice", lambda scored: None))
    with pytest.raises(UserError, match="a measure named 'clear_wins' already"):
        register_measure(CLEAR)


def test_a_measure_is_given_all_runs_in_one_order():
    """Rows are sorted by id, and every array has a column per run."""
    second = [ScoreRow(row.id, row.scores_rejected, row.scores_chosen) for row in ROWS]
    scored = ScoredRuns.of([ROWS[::-1], second])
    assert [[row.id for row in rows] for rows in scored.runs] == [list("abcd")] * 2
    assert scored.accuracies[:, 0].tolist() == record_accuracies([r.scores for r in ROWS]).tolist()
    assert (scored.accuracies.sum(axis=1) == 1).all(), "sides are swapped in the second run"
    assert list(scored.baselines) == [], "one run has no lengths"
    assert summarise(ROWS, second).accuracy.value == 0.5
