import json
import logging
import subprocess
import sys
from dataclasses import astuple, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import (
    FLIPS,
    Comparison,
    benjamini_hochberg,
    compare,
    compare_all,
    count_unshared,
    holm,
    indistinguishable,
    mcnemar,
    sign_flip_test,
)
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.evaluation.table import format_table, metrics

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
    with pytest.raises(UserError, match=r"a\.jsonl and b\.jsonl .* 3 records"):
        compare(rows_of([1.0] * 5), rows_of([1.0] * 2), ("a.jsonl", "b.jsonl"))


@settings(deadline=None)  # the first call imports SciPy's tests
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(wins: int, losses: int) -> None:
    expected = reference_mcnemar([[4, wins], [losses, 5]], exact=True).pvalue
    assert mcnemar(wins, losses) == pytest.approx(min(expected, 1.0))


gains = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1 / 3]), max_size=9)


@settings(deadline=None)
@given(gains)
def test_sign_flips_are_gone_through_as_a_loop_would(found: list[float]) -> None:
    sums = [
        abs(sum(s * g for s, g in zip(signs, found, strict=True)))
        for signs in product([-1, 1], repeat=len(found))
    ]
    expected = np.mean([each >= abs(sum(found)) - 1e-9 for each in sums])
    assert sign_flip_test(np.array(found)) == pytest.approx(expected)


def test_sign_flips_are_scipys_permutation_test() -> None:
    found = np.random.default_rng(0).normal(0.4, 1.0, 12)
    theirs = permutation_test((found,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(found) == pytest.approx(theirs.pvalue)
    # With 30 different sizes it draws: both estimates have a standard error of 0.002.
    found = np.random.default_rng(1).normal(0.3, 1.0, 30)
    theirs = permutation_test(
        (found,), np.sum, permutation_type="samples", rng=np.random.default_rng(0)
    )
    assert sign_flip_test(found) == pytest.approx(theirs.pvalue, abs=0.012)
    assert sign_flip_test(np.abs(found)) == 1 / (1 + FLIPS)


@given(st.integers(0, 40), st.integers(0, 40))
def test_for_gains_of_one_size_the_permutation_test_is_mcnemars(wins: int, losses: int) -> None:
    found = np.repeat([1.0, -1.0, 0.0], [wins, losses, 7])
    assert sign_flip_test(found) == pytest.approx(mcnemar(wins, losses))


def test_sign_flips_of_very_many_gains() -> None:
    found = np.random.default_rng(0).normal(0, 1, 20_000)
    p_value = sign_flip_test(found - found.mean() + 2 / np.sqrt(20_000))  # two standard errors
    assert p_value == pytest.approx(0.0455, abs=0.012)


def test_records_of_one_prompt_are_tested_as_one() -> None:
    """Nine records of three prompts: 3, 3 and 1 to 0 wins; signs of three prompts alone, p 1/4."""
    rewards = [RIGHT] * 6 + [RIGHT, TIE, TIE]
    first = [replace(row, prompt=f"p{index // 3}") for index, row in enumerate(rows_of(rewards))]
    second = [replace(row, prompt="", scores_chosen=(WRONG,)) for row in first[:6]] + first[6:]
    second[6] = replace(second[6], scores_chosen=(WRONG,))
    comparison = compare(first, second)
    assert (comparison.wins, comparison.losses) == (7, 0)
    assert comparison.mcnemar_p == comparison.permutation_p == pytest.approx(0.25)
    apart = compare([replace(row, prompt="") for row in first], second)
    assert apart.mcnemar_p == pytest.approx(2 / 2**7)
    assert comparison.difference.low < apart.difference.low


def test_rows_of_the_same_id_and_other_responses_are_different_data() -> None:
    """Perturbed counterparts keep ids and prompts; files without the hash are believed."""
    rows = rows_of([RIGHT] * 3)
    first, second = ([replace(row, responses=told) for row in rows] for told in ("here", "there"))
    assert count_unshared(first, second) == 6
    assert count_unshared(first, first) == count_unshared(first, rows) == 0
    assert list(compare_all({"a": first, "b": rows})) == [("a", "b")]


def test_rows_of_the_same_id_and_another_prompt_are_different_data(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = [replace(row, prompt="here") for row in rows_of([RIGHT] * 3)]
    second = [replace(row, prompt="there") for row in first]
    with pytest.raises(UserError, match="6 records are in only one of them"):
        compare(first, second)
    assert compare_all({"a": first, "b": second}) == {}
    assert "not compared with any other, for they rate different records: a, b" in caplog.text


@given(st.lists(st.sampled_from([RIGHT, TIE, WRONG]), min_size=1, max_size=12))
def test_a_file_against_itself_never_differs(rewards: list[float]) -> None:
    rows = rows_of(rewards)
    comparison = compare(rows, rows)
    assert comparison.difference.value == 0
    assert comparison.mcnemar_p == comparison.permutation_p == 1


def test_benjamini_hochberg_by_hand() -> None:
    """Sorted 0.01 0.03 0.04, times 3/1 3/2 3/3: 0.03 0.045 0.04, then no larger than later ones."""
    assert benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert benjamini_hochberg([0.2]) == [0.2]
    assert benjamini_hochberg([]) == []


def judged(p_value: float) -> Comparison:
    return Comparison(9, 1, 1, Interval(0.0, -0.1, 0.1), p_value, p_value, p_value, p_value)


def test_groups_overlap_where_alike_is_not_transitive() -> None:
    """a = b and b = c, but a and c are separated; d is unlike all; e was never compared."""
    found = {
        ("a", "b"): judged(0.3),
        ("b", "c"): judged(0.05),
        ("a", "c"): judged(0.049),
        ("a", "d"): judged(0.001),
        ("b", "d"): judged(0.001),
        ("c", "d"): judged(0.001),
    }
    expected = [("e",), ("b", "c"), ("b", "a"), ("d",)]
    assert indistinguishable(["e", "b", "c", "a", "d"], found) == expected


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**15 - 1))
def test_groups_are_the_maximal_sets_without_a_separated_pair(n: int, graph: int) -> None:
    names = "abcdef"[:n]
    pairs = list(combinations(names, 2))
    alike = {pair for bit, pair in enumerate(pairs) if graph >> bit & 1}
    found = indistinguishable(
        names, {pair: judged(1.0 if pair in alike else 0.0) for pair in pairs}
    )
    whole = [
        set(group)
        for size in range(1, n + 1)
        for group in combinations(names, size)
        if set(combinations(group, 2)) <= alike
    ]
    maximal = [group for group in whole if not any(group < other for other in whole)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, maximal))


def test_holm_by_hand() -> None:
    """Sorted 0.01 0.03 0.04, times 3 2 1: 0.03 0.06 0.04, then never falling: 0.03 0.06 0.06."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_adjusted_p_values_are_those_of_statsmodels() -> None:
    p_values = np.random.default_rng(0).beta(0.3, 1, 40).tolist()
    p_values += p_values[:3]  # ties
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    expected = multipletests(p_values, method="fdr_bh")[1]
    assert benjamini_hochberg(p_values) == pytest.approx(expected)


@settings(deadline=None)  # the first call imports SciPy's tests
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    for p_value, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p_value <= adjusted <= min(1.0, len(p_values) * p_value) + 1e-12
    for strict, loose in zip(holm(p_values), benjamini_hochberg(p_values), strict=True):
        assert loose <= strict + 1e-12


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
    assert "a and b are not compared: 1 records" in caplog.text


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
    report, _ = metrics(MetricsConfig(scores=list(map(str, paths))))
    assert json.loads(json.dumps(report)) == report
    assert list(report) == [str(path) for path in paths]
    assert report[str(good)]["accuracy"]["value"] == 1
    assert "compared" not in report[str(other)]
    there, back = report[str(good)]["compared"][str(bad)], report[str(bad)]["compared"][str(good)]
    assert list(there) == ["difference", "mcnemar_p", "permutation_p", "holm_p", "bh_p"]
    assert there["mcnemar_p"] == back["holm_p"] == pytest.approx(2 / 2**12)
    assert (there["difference"]["value"], back["difference"]["value"]) == (1, -1)
    assert there["difference"]["low"] == -back["difference"]["high"]


def test_report_as_text(tmp_path: Path) -> None:
    good, bad, other = paths = write_files(tmp_path)
    text = metrics(MetricsConfig(scores=list(map(str, paths))))[1]
    lines = text.splitlines()
    assert lines[0].split() == ["accuracy", "margin", "separation", "ties", "records"]
    column = lines[0].index("accuracy")
    assert lines[1].startswith(str(good))
    assert lines[1][column:].startswith("1.000 [0.735, 1.000]")
    assert lines[2][column:].startswith("0.000 [0.000, 0.265]")
    names = [line.split()[0] for line in lines[3:6]]
    assert names == [str(other), "longer", "shorter"]
    assert f"- {good} is more accurate than {bad}:\n  difference 1.000 [" in text
    assert "ahead on 12 and behind on 0 of 12 records, p = 0.00049" in text


def test_text_says_when_nothing_separates_two_files() -> None:
    rows = {"a": rows_of([RIGHT, WRONG, WRONG]), "b": rows_of([WRONG, RIGHT, RIGHT])}
    text = format_table({}, compare_all(rows))
    assert "- b cannot be told from a:\n  difference 0.333 [" in text
    assert "Holm" not in text


def test_files_of_one_set_have_their_baselines_once() -> None:
    rows = [ScoreRow("a", (1.0,), (0.0,), (3,), (5,)), ScoreRow("b", (0.0,), (1.0,), (5,), (3,))]
    other = [ScoreRow("a", (1.0,), (0.0,), (5,), (3,)), ScoreRow("b", (0.0,), (1.0,), (9,), (3,))]
    summaries = {"first": summarise(rows), "second": summarise(rows), "third": summarise(other)}
    names = [line.split()[0] for line in format_table(summaries, {}).splitlines()[1:]]
    assert [name for name in names if name not in ("shorter", "where")] == [
        *("first", "longer", "second", "third", "longer"),
    ]


def test_text_names_the_groups_of_three_files() -> None:
    rows = {"a": rows_of([RIGHT] * 9), "b": rows_of([WRONG] * 9), "c": rows_of([RIGHT] * 9)}
    text = format_table({}, compare_all(rows))
    assert text.endswith("Groups of which no two can be told apart: a = c; b\n")


def test_report_shows_where_longer_fails(tmp_path: Path) -> None:
    rows = [ScoreRow("a", (1.0,), (0.0,), (3,), (5,)), ScoreRow("b", (0.0,), (1.0,), (5,), (3,))]
    write_scores(tmp_path / "scores.jsonl", rows)
    report, text = metrics(MetricsConfig(scores=[str(tmp_path / "scores.jsonl")]))
    assert report[str(tmp_path / "scores.jsonl")]["where_longer_fails"]["value"] == 1
    assert text.splitlines()[2].split()[:4] == ["where", "longer", "fails", "1.000"]


def test_report_by_styles(tmp_path: Path) -> None:
    path = tmp_path / "styles.jsonl"
    write_scores(path, [ScoreRow("a", (1.0, 3.0), (0.0, 2.0))])
    report, text = metrics(MetricsConfig(scores=[str(path)], styles=True))
    values = {name: found["value"] for name, found in report[str(path)]["styles"].items()}
    assert values == {"easy": 1.0, "normal": 1.0, "hard": 0.0}
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["easy", "normal", "hard"]
    write_scores(path, [ScoreRow("a", (1.0,), (0.0, 2.0))])
    with pytest.raises(UserError, match=r"styles\.jsonl: record 'a' has 1 chosen and 2 rejected"):
        metrics(MetricsConfig(scores=[str(path)], styles=True))


def test_no_torch_in_the_report() -> None:
    """`rewardgap metrics` needs neither torch nor transformers."""
    code = (
        "import sys, rewardgap.evaluation.table\n"
        "from rewardgap.evaluation.comparisons import holm, mcnemar\n"
        "holm([mcnemar(1, 2), 0.5])\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
