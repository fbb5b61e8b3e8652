"""Kinds, models and settings against each other, on scores whose outcome is known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from grids import (
    REWORDED,
    Grid,
    Rewards,
    findings,
    first_right,
    ranked,
    results_of,
    tables,
    texts,
    write_grid,
)
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from rewardgap.evaluation.comparisons import compare
from rewardgap.reporting.results import Results
from rewardgap.reporting.topics import comparisons


def test_kinds_are_compared_over_their_runs(known):
    """On the rewording explicit is right on 26 more records, and nowhere behind."""
    comparison = comparisons.measure(known).kinds["ultrafeedback-french"]["explicit", "implicit"]
    assert (comparison.n, comparison.wins, comparison.losses) == (40, 26, 0)
    assert comparison.difference.value == pytest.approx(26 / 40)
    exact = binomtest(26, 26).pvalue
    assert comparison.permutation_p == pytest.approx(exact)
    assert comparison.mcnemar_p == pytest.approx(exact)


def test_p_values_are_adjusted_over_all_sets(known):
    found = [each for some in comparisons.measure(known).kinds.values() for each in some.values()]
    assert len(found) == 6
    expected = multipletests([each.permutation_p for each in found], method="holm")[1]
    assert [each.holm_p for each in found] == pytest.approx(list(expected))
    expected = multipletests([each.permutation_p for each in found], method="fdr_bh")[1]
    assert [each.bh_p for each in found] == pytest.approx(list(expected))


def test_groups_that_no_test_tells_apart(known):
    assert comparisons.measure(known).groups == {
        "ultrafeedback": [("explicit", "generative", "implicit")],
        "ultrafeedback-french": [("explicit", "generative"), ("implicit",)],
    }


def test_seeds_that_differ_too_much_separate_nothing(tmp_path):
    """Gains of ½, ½ and 1/20: the test of these runs is sure, the interval over runs is not."""
    right = {"explicit": (40, 40, 22), "implicit": (20, 20, 20)}

    def by_seed(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        return ranked(right[kind][seed], 40)

    grid = replace(REWORDED, kinds=("explicit", "implicit"))
    results = results_of(write_grid(tmp_path, grid, by_seed))
    comparison = comparisons.measure(results).kinds["ultrafeedback"]["explicit", "implicit"]
    assert comparison.difference.value == pytest.approx(0.35)
    assert comparison.holm_p < 0.05 and comparison.difference.low < 0
    assert comparisons.measure(results).groups["ultrafeedback"] == [("explicit", "implicit")]
    assert "more accurate than implicit" not in texts(findings(results), "difference")
    table = tables(results)["Kinds against each other"]
    assert table.rows[0][1] == "these runs differ, others may not"


def test_a_single_run_is_compared_as_metrics_compares_it(tmp_path):
    folder = write_grid(tmp_path, replace(REWORDED, kinds=("explicit", "implicit"), seeds=(3,)))
    results = results_of(folder)
    ours = comparisons.measure(results).kinds["ultrafeedback"]["explicit", "implicit"]
    by_kind = {cell.kind: rows for cell, rows in results.rows["ultrafeedback"].items()}
    theirs = compare(by_kind["explicit"], by_kind["implicit"])
    assert ours.difference == theirs.difference
    assert (ours.mcnemar_p, ours.permutation_p) == (theirs.mcnemar_p, theirs.permutation_p)


def models_of(tmp_path: Path, right: Mapping[str, int]) -> Results:
    """Explicit models from several initial models, by how many of 40 records they rank right."""
    grid = Grid(
        models=tuple(right), kinds=("explicit",), seeds=(0, 1), records=40,
        sets={"ultrafeedback": ("in-distribution", None)},
    )  # fmt: skip
    return results_of(
        write_grid(
            tmp_path,
            grid,
            lambda grid, model, kind, seed, name: ranked(right[model], 40),
        )
    )


def test_initial_models_are_compared_within_a_kind(tmp_path):
    results = models_of(tmp_path, {"a": 40, "b": 39, "c": 20})
    found = comparisons.measure(results).models["ultrafeedback", "explicit"]
    assert {pair: each.difference.value for pair, each in found.items()} == pytest.approx(
        {("a", "b"): 1 / 40, ("a", "c"): 20 / 40, ("b", "c"): 19 / 40}
    )
    alone = [binomtest(n, n).pvalue for n in (1, 20, 19)]
    assert [each.permutation_p for each in found.values()] == pytest.approx(alone)
    assert [each.holm_p for each in found.values()] == pytest.approx(
        list(multipletests(alone, method="holm")[1])
    )
    assert comparisons.measure(results).model_groups["ultrafeedback", "explicit"] == [
        ("a", "b"),
        ("c",),
    ]
    said = findings(results)
    assert "Of explicit models, “a” is more accurate than “c” on ultrafeedback by 0.500" in texts(
        said, "difference"
    )
    assert "Of explicit models, “a” and “b” cannot be told apart" in texts(said, "alike")
    made = tables(results)
    assert ["ultrafeedback", "explicit models", "a and b; c"] in [
        list(row) for row in made["Groups that cannot be told apart"].rows
    ]
    (within,) = [table for title, table in made.items() if "within a kind" in title]
    assert [row[1] for row in within.rows] == ["cannot be told apart", "a is ahead", "b is ahead"]


def test_many_differences_within_a_kind_are_counted(tmp_path):
    """All six pairs of models with 10, 20, 30 and 40 right answers differ; three are named."""
    results = models_of(tmp_path, {"a": 40, "b": 30, "c": 20, "d": 10})
    said = texts(findings(results), "difference")
    assert said.count("is more accurate than “") == 3
    assert "3 more such differences are in the table" in said


def test_a_setting_is_compared_with_the_experiments_own(tmp_path):
    grid = replace(REWORDED, name="hyperparameters", variations=("", "beta=0.1"))
    results = results_of(write_grid(tmp_path, grid, first_right))
    found = comparisons.measure(results).models["ultrafeedback", "implicit"]["m", "m, beta=0.1"]
    assert (found.difference.value, found.holm_p) == (0, 1)
