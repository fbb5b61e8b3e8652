"""RewardBench and RewardBench 2 as their leaderboards count, with numbers by hand."""

from math import tanh
from pathlib import Path

import pytest

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.rewardbench import (
    SECTIONS,
    find_leaderboard,
    ties_score,
    weighted_mean,
)
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.evaluation.table import metrics


def row(name, chosen, rejected, subset):
    return ScoreRow(name, chosen, rejected, subset=subset, prompt=f"prompt of {name}")


TIES = [
    row("ref:1", (5.0,), (1.0, 0.0), "Ties"),  # gap 4
    row("tied:1", (6.0, 5.0), (2.0, 1.0), "Ties"),  # gap 3, spread 1
    row("ref:2", (1.0,), (3.0, 0.0), "Ties"),  # gap −2
    row("tied:2", (4.0, 2.0, 3.0), (1.0,), "Ties"),  # gap 1, spread 2
    row("ref:7", (2.0,), (1.5,), "Ties"),  # gap 0.5
    row("tied:7", (3.0, 3.0), (3.0, 0.0), "Ties"),  # gap 0, spread 0
]
BY_HAND = (
    0.3 * (2 / 3)  # gaps 3, 1 and 0 of the tied prompts: two are positive
    + 0.3 * (2 / 3)  # gaps 4, −2 and 0.5 of the others
    + 0.2 * (1 / 3)  # 3 > 1; 1 < 2; 0 = 0
    + 0.2 * (1 / 3)  # min(4, 3) > 1; −2 < 2; 0 = 0
    + 0.01 * (tanh(2) + tanh(-2) + 0) / 3  # 3/1 − 1; −2/2 − 1; 0/0
)


def test_ties_by_hand():
    score = ties_score(TIES)
    assert score.value == pytest.approx(BY_HAND)
    assert score.low < score.value < score.high
    assert ties_score(TIES[::-1]).value == pytest.approx(BY_HAND)


def test_a_positive_gap_over_no_spread_is_as_good_as_can_be():
    rows = [row("ref:1", (1.0,), (0.0,), "Ties"), row("tied:1", (2.0, 2.0), (1.0,), "Ties")]
    assert ties_score(rows).value == pytest.approx(1.01)


def test_ties_without_a_partner():
    # Accuracy is over all tied prompts, what compares the two only over number 1.
    rows = [*TIES[:2], row("tied:5", (1.0, 0.0), (2.0,), "Ties")]
    assert ties_score(rows).value == pytest.approx(0.3 + 0.15 + 0.2 + 0.2 + 0.01 * tanh(2))
    assert ties_score(TIES[:1]) is None
    assert ties_score([row("another", (1.0, 0.0), (2.0,), "Ties")]) is None


def test_the_average_is_over_subsets(tmp_path: Path):
    best_of_4 = [
        row("a", (3.0,), (2.0, 1.0, 0.0), "Focus"),
        row("b", (2.0,), (2.0, 2.0, 1.0), "Focus"),  # one of three equal ones
        row("c", (0.0,), (0.5, 0.0, 0.0), "Math"),
    ]
    rows = [*best_of_4, *TIES]
    scores = find_leaderboard(rows).scores
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        {"Focus": 2 / 3, "Math": 0, "Ties": BY_HAND, "average of 3": (2 / 3 + BY_HAND) / 3}
    )
    path = tmp_path / "scores.jsonl"
    write_scores(path, rows)
    report, table = metrics(MetricsConfig(scores=[str(path)]))
    subsets = report[str(path)]["subsets"]
    assert subsets["RewardBench 2, Ties"]["value"] == pytest.approx(BY_HAND)
    assert "  RewardBench 2, average of 3" in table
    assert find_leaderboard(best_of_4) is None


def pairs(subset: str, won: int, tied: int, lost: int) -> list[ScoreRow]:
    margins = [1.0] * won + [0.0] * tied + [-1.0] * lost
    return [row(f"{subset}-{i}", (m,), (0.0,), subset) for i, m in enumerate(margins)]


def test_sections_of_rewardbench_by_hand():
    rows = [
        *pairs("alpacaeval-easy", 3, 0, 1),
        *pairs("alpacaeval-length", 1, 0, 1),
        *pairs("alpacaeval-hard", 1, 1, 0),  # a tie is wrong
        *pairs("mt-bench-easy", 1, 0, 0),
        *pairs("mt-bench-med", 0, 0, 2),
        *pairs("math-prm", 1, 0, 1),  # a section without the rest of it
    ]
    scores = find_leaderboard(rows).scores
    chat = (100 * 0.75 + 95 * 0.5 + 95 * 0.5 + 28 * 1 + 40 * 0) / 358
    assert {name: score.value for name, score in scores.items()} == pytest.approx({"Chat": chat})
    every = [part for section in SECTIONS.values() for part in section]
    rows = [pair for part in every for pair in pairs(part, 1, 0, int(part == "math-prm"))]
    scores = find_leaderboard(rows).scores
    reasoning = (984 * 0.5 + 6 * 164) / (984 + 6 * 164)
    assert scores["Reasoning"].value == pytest.approx(reasoning) == 0.75
    assert scores["average of 4"].value == pytest.approx((3 + reasoning) / 4)


def test_intervals_of_a_mean_add_up_as_errors_do():
    parts = [Interval(0.5, 0.2, 0.6), Interval(0.7, 0.3, 0.9)]
    mean = weighted_mean(parts, {"x": 1, "y": 3})
    assert mean.value == pytest.approx(0.65)
    assert mean.low == pytest.approx(0.65 - ((0.25 * 0.3) ** 2 + (0.75 * 0.4) ** 2) ** 0.5)
    assert mean.high == pytest.approx(0.65 + ((0.25 * 0.1) ** 2 + (0.75 * 0.2) ** 2) ** 0.5)


def test_rows_of_no_benchmark():
    assert find_leaderboard([row("a", (1.0,), (0.0,), "")]) is None
    assert find_leaderboard(pairs("math-prm", 1, 0, 0)) is None
