"""What rewording costs, on scores whose outcome is known."""

from dataclasses import replace

import pytest
from grids import (
    REWORDED,
    Grid,
    Rewards,
    findings,
    first_right,
    ranked,
    results_of,
    texts,
    write_grid,
)
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from rewardgap.evaluation.scores import read_scores, write_scores
from rewardgap.reporting.topics import accuracy, robustness


def test_a_drop_is_that_of_every_record(known):
    drops = robustness.measure(known).drops["ultrafeedback-french"]
    assert drops["implicit"].loss.difference.value == pytest.approx(26 / 40)
    assert drops["implicit"].flip_rate.value == pytest.approx(26 / 40)
    assert (drops["explicit"].loss.difference.value, drops["explicit"].loss.n) == (0, 40)
    assert "ultrafeedback" not in robustness.measure(known).drops


def test_runs_of_a_record_are_no_further_records(known, tmp_path):
    """Three seeds that agree know no more than one: their interval is not narrower."""
    single = results_of(write_grid(tmp_path, replace(REWORDED, seeds=(0,)), first_right))
    one, three = (
        robustness.measure(results).drops["ultrafeedback-french"]["implicit"].loss.difference
        for results in (single, known)
    )
    assert three.high - three.low == pytest.approx(one.high - one.low, abs=0.01)


def test_a_drop_needs_a_test_corrected_for_all_drops(tmp_path):
    """Six of 40 records lost: p is 2/64 alone, and not below 0.05 among two such kinds."""
    right = {"explicit": (36, 30), "implicit": (36, 30)}

    def some_lost(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        count = right[kind][name == "ultrafeedback-french"]
        return ranked(count, 40)

    results = results_of(
        write_grid(tmp_path, replace(REWORDED, kinds=("explicit", "implicit")), some_lost)
    )
    drops = robustness.measure(results).drops["ultrafeedback-french"]
    assert drops["explicit"].loss.permutation_p == pytest.approx(binomtest(6, 6).pvalue)
    alone = [each.loss.permutation_p for each in drops.values()]
    expected = multipletests(alone, method="holm")[1]
    assert [each.loss.holm_p for each in drops.values()] == pytest.approx(list(expected))
    assert drops["explicit"].loss.difference.low > 0, "the interval alone would have claimed it"
    found = findings(results)
    assert "no kind shows a detectable loss" in texts(found, "alike")
    assert "Reworded" not in texts(found, "difference")


def test_a_rewording_that_gains_is_not_said_to_lose(tmp_path):
    def gained(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        count = 40 if name == "ultrafeedback-french" else 20
        return ranked(count, 40)

    results = results_of(write_grid(tmp_path, replace(REWORDED, kinds=("explicit",)), gained))
    said = texts(findings(results), "difference")
    assert "Reworded as ultrafeedback-french, explicit models gain 0.500" in said
    assert "and flip 50% of their verdicts" in said


def test_a_set_that_is_no_rewording_is_said_to_be_none(tmp_path):
    folder = write_grid(tmp_path, replace(REWORDED, kinds=("explicit",)), first_right)
    for path in folder.rglob("scores/*.jsonl"):
        rows = [replace(row, prompt=path.stem) for row in read_scores(path)]
        write_scores(path, rows)
    results = results_of(folder)
    assert robustness.measure(results).drops == {} and accuracy.measure(
        results
    ).overall.keys() == set(REWORDED.sets)
    said = texts(findings(results), "caution")
    assert "costs is not known: ultrafeedback and ultrafeedback-french are not counterparts" in said
