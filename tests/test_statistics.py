import json
import logging
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from rewardgap.errors import UserError
from rewardgap.metrics_table import format_table, report_metrics
from rewardgap.scores import ScoreRow, write_scores
from rewardgap.statistics import compare, compare_all, holm, mcnemar

RIGHT, TIE, WRONG = 1.0, 0.0, -1.0


def rows_of(rewards: list[float], prefix: str = "") -> list[ScoreRow]:
    """One pair a record; the rejected response always has reward 0."""
    return [ScoreRow(f"{prefix}{i}", (reward,), (0.0,)) for i, reward in enumerate(rewards)]


def test_comparison_by_hand() -> None:
    """Five records: first alone right on 3, second alone right on 1, both right on 1.

    Difference (3 - 1) / 5 = 0.4; exact p of 3 against 1 is 2 (4 + 1) / 16 = 0.625.
    """
    first = rows_of([RIGHT, RIGHT, RIGHT, WRONG, RIGHT])
    second = rows_of([WRONG, WRONG, WRONG, RIGHT, RIGHT])
    comparison = compare(first, second)
    assert (comparison.n, comparison.wins, comparison.losses) == (5, 3, 1)
    assert comparison.difference.value == pytest.approx(0.4)
    assert comparison.mcnemar_p == comparison.holm_p == pytest.approx(0.625)


def test_ties_rank_between_right_and_wrong() -> None:
    """Right against tie is a win, tie against wrong is a win, tie against tie does not count."""
    comparison = compare(rows_of([RIGHT, TIE, TIE]), rows_of([TIE, WRONG, TIE]))
    assert (comparison.wins, comparison.losses) == (2, 0)
    assert comparison.difference.value == pytest.approx(1 / 3)
    assert comparison.mcnemar_p == pytest.approx(0.5)


def test_several_responses_are_compared_by_their_mean_accuracy() -> None:
    """Accuracies 2/3 against 1/3: one win and a difference of 1/3."""
    first = [ScoreRow("a", (2.0,), (0.0, 1.0, 3.0))]
    second = [ScoreRow("a", (2.0,), (0.0, 4.0, 3.0))]
    comparison = compare(first, second)
    assert (comparison.wins, comparison.losses) == (1, 0)
    assert comparison.difference.value == pytest.approx(1 / 3)


def test_rows_are_matched_by_id_not_by_position() -> None:
    first = rows_of([RIGHT, WRONG, WRONG, WRONG])
    assert compare(first, first[::-1]).wins == 0
    assert compare(first, first[::-1]).difference.value == 0


def test_seen_from_the_other_side() -> None:
    first, second = rows_of([RIGHT] * 6 + [WRONG]), rows_of([WRONG] * 3 + [RIGHT] * 4)
    there, back = compare(first, second), compare(second, first)
    found, expected = there.reversed().difference, back.difference
    assert astuple(found) == pytest.approx(astuple(expected))
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert there.reversed().reversed() == there


def test_difference_interval_is_scipys_paired_bootstrap() -> None:
    draws = np.random.default_rng(0).normal([0.6, 0.3], 1.0, (120, 2))
    ours = compare(rows_of(draws[:, 0].tolist()), rows_of(draws[:, 1].tolist())).difference
    right = (draws > 0).astype(float)
    theirs = bootstrap(
        (right[:, 0] - right[:, 1],), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_equal_scores_do_not_prove_equal_models() -> None:
    """Twenty records without a difference: |difference| up to 1 - 0.025^(1/20) = 0.168."""
    rows = rows_of([RIGHT] * 20)
    comparison = compare(rows, rows)
    assert comparison.mcnemar_p == 1
    assert (comparison.difference.low, comparison.difference.high) == pytest.approx(
        (-0.1684, 0.1684), abs=1e-4
    )


def test_different_ids_are_refused_with_their_number() -> None:
    with pytest.raises(UserError, match=r"a\.jsonl and b\.jsonl .* 3 ids"):
        compare(rows_of([1.0] * 5), rows_of([1.0] * 2), ("a.jsonl", "b.jsonl"))


@settings(deadline=None)  # the first call imports SciPy's tests
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(wins: int, losses: int) -> None:
    expected = reference_mcnemar([[4, wins], [losses, 5]], exact=True).pvalue
    assert mcnemar(wins, losses) == pytest.approx(min(expected, 1.0))


def test_holm_by_hand() -> None:
    """Sorted 0.01 0.03 0.04, times 3 2 1: 0.03 0.06 0.04, then never falling: 0.03 0.06 0.06."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@settings(max_examples=25, deadline=None)  # statsmodels collects garbage at every call
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    for p_value, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p_value <= adjusted <= min(1.0, len(p_values) * p_value) + 1e-12


def test_all_comparisons_share_one_correction() -> None:
    files = {
        "a": rows_of([RIGHT] * 8),
        "b": rows_of([WRONG] * 8),
        "c": rows_of([RIGHT] * 4 + [WRONG] * 4),
        "elsewhere": rows_of([RIGHT] * 8, prefix="other-"),
    }
    comparisons = compare_all(files)
    assert list(comparisons) == [("a", "b"), ("a", "c"), ("b", "c")]
    alone = [comparison.mcnemar_p for comparison in comparisons.values()]
    assert alone == pytest.approx([2 / 256, 2 / 16, 2 / 16])
    together = [comparison.holm_p for comparison in comparisons.values()]
    assert together == pytest.approx([6 / 256, 4 / 16, 4 / 16])


def test_partly_shared_ids_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert compare_all({"a": rows_of([1.0] * 4), "b": rows_of([1.0] * 3)}) == {}
    assert "a and b are not compared: 1 ids" in caplog.text


def write_files(folder: Path) -> list[Path]:
    contents = {
        "good.jsonl": rows_of([RIGHT] * 12),
        "bad.jsonl": rows_of([WRONG] * 12),
        "other.jsonl": [ScoreRow("z", (1.0,), (0.0,), (5,), (3,))],
    }
    for name, rows in contents.items():
        write_scores(folder / name, rows)
    return [folder / name for name in contents]


def test_report_as_json(tmp_path: Path) -> None:
    good, bad, other = paths = write_files(tmp_path)
    report, _ = report_metrics(paths)
    assert json.loads(json.dumps(report)) == report
    assert list(report) == [str(path) for path in paths]
    assert report[str(good)]["accuracy"]["value"] == 1
    assert "compared" not in report[str(other)]
    there, back = report[str(good)]["compared"][str(bad)], report[str(bad)]["compared"][str(good)]
    assert list(there) == ["difference", "mcnemar_p", "holm_p"]
    assert there["mcnemar_p"] == back["holm_p"] == pytest.approx(2 / 2**12)
    assert (there["difference"]["value"], back["difference"]["value"]) == (1, -1)
    assert there["difference"]["low"] == -back["difference"]["high"]


def test_report_as_text(tmp_path: Path) -> None:
    good, bad, other = paths = write_files(tmp_path)
    text = report_metrics(paths)[1]
    lines = text.splitlines()
    assert lines[0].split() == ["accuracy", "margin", "ties", "records"]
    column = lines[0].index("accuracy")
    assert lines[1].startswith(str(good))
    assert lines[1][column:].startswith("1.000 [0.735, 1.000]")
    assert lines[2][column:].startswith("0.000 [0.000, 0.265]")
    assert [line.split()[0] for line in lines[3:6]] == [str(other), "longer", "shorter"]
    assert f"- {good} is more accurate than {bad}: difference 1.000 [" in text
    assert "ahead on 12 and behind on 0 of 12 records, p = 0.00049" in text


def test_text_says_when_nothing_separates_two_files() -> None:
    rows = {"a": rows_of([RIGHT, WRONG, WRONG]), "b": rows_of([WRONG, RIGHT, RIGHT])}
    text = format_table({}, compare_all(rows))
    assert "- b cannot be told from a: difference 0.333 [" in text
    assert "Holm" not in text


def test_no_torch_in_the_report() -> None:
    """`rewardgap metrics` needs neither torch nor transformers."""
    code = (
        "import sys, rewardgap.metrics_table\n"
        "from rewardgap.statistics import holm, mcnemar\n"
        "holm([mcnemar(1, 2), 0.5])\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
