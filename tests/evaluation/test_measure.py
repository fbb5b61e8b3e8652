"""A measure is one file: registered from outside, it is in the table and in the model card."""

from collections.abc import Iterator
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
        "where_longer_fails",
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
    lines = model_card(config, {"test": summary}, None).splitlines()
    (heading,) = [line for line in lines if line.startswith("| set |")]
    (row,) = [line for line in lines if line.startswith("| test |")]
    assert (heading.split(" | ")[-1], row.split(" | ")[-1]) == ("clear wins |", "0.250 |")
    assert "clear wins: share of records won by more than a half" in "\n".join(lines)


def test_other_figures_stay_the_same_to_the_bit(registered: None):
    enlarged = summarise(ROWS).to_json()
    MEASURES.remove(CLEAR)
    figures = summarise(ROWS).to_json()
    assert {key: enlarged[key] for key in figures} == figures
    assert list(figures) == ["n", "ties", "accuracy", "margin", "baselines", "where_longer_fails"]


def test_a_measure_that_the_records_do_not_allow_is_left_out(registered: None):
    register_measure(Measure("never", "never", "no figure", lambda scored: None, is_column=True))
    assert "never" not in summarise(ROWS).to_json()


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
    assert list(scored.baselines) == ["constant"], "one run has no lengths"
    assert summarise(ROWS, second).accuracy.value == 0.5
