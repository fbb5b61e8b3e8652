"""The report's statistics and sentences, on scores whose outcome is known."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from grids import Grid, Rewards, figures, findings, results_of, tables, texts, write_grid
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from rewardgap.evaluation.comparisons import compare
from rewardgap.evaluation.scores import ScoreRow, read_scores, write_scores
from rewardgap.reporting.paper.tables import beside_paper, paper_tables
from rewardgap.reporting.results import COLUMNS, Results
from rewardgap.reporting.topics import (
    accuracy,
    baselines,
    comparisons,
    robustness,
    training,
)

RECORDS = 40
GRID = Grid(
    models=("m",),
    kinds=("explicit", "generative", "implicit"),
    seeds=(0, 1, 2),
    sets={
        "ultrafeedback": ("in-distribution", None),
        "ultrafeedback-french": ("token-level", "ultrafeedback"),
    },
    records=RECORDS,
)
RIGHT = {"explicit": (36, 36), "generative": (35, 35), "implicit": (36, 10)}
"""Of 40 records, how many are ranked right on the set and on its rewording."""


def first_right(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
    """The first records are right, the others wrong; every seed agrees."""
    right = RIGHT[kind][name == "ultrafeedback-french"]
    return [(1.0, 0.0)] * right + [(0.0, 1.0)] * (RECORDS - right)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Results:
    return results_of(write_grid(tmp_path_factory.mktemp("grid"), GRID, first_right))


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
        return [(1.0, 0.0)] * right[kind][seed] + [(0.0, 1.0)] * (40 - right[kind][seed])

    grid = replace(GRID, kinds=("explicit", "implicit"))
    results = results_of(write_grid(tmp_path, grid, by_seed))
    comparison = comparisons.measure(results).kinds["ultrafeedback"]["explicit", "implicit"]
    assert comparison.difference.value == pytest.approx(0.35)
    assert comparison.holm_p < 0.05 and comparison.difference.low < 0
    assert comparisons.measure(results).groups["ultrafeedback"] == [("explicit", "implicit")]
    assert "more accurate than implicit" not in texts(findings(results), "difference")
    table = tables(results)["Kinds against each other"]
    assert table.rows[0][-1] == "these runs differ, others may not"


def test_a_single_run_is_compared_as_metrics_compares_it(tmp_path):
    folder = write_grid(tmp_path, replace(GRID, kinds=("explicit", "implicit"), seeds=(3,)))
    results = results_of(folder)
    ours = comparisons.measure(results).kinds["ultrafeedback"]["explicit", "implicit"]
    by_kind = {cell.kind: rows for cell, rows in results.rows["ultrafeedback"].items()}
    theirs = compare(by_kind["explicit"], by_kind["implicit"])
    assert ours.difference == theirs.difference
    assert (ours.mcnemar_p, ours.permutation_p) == (theirs.mcnemar_p, theirs.permutation_p)


def test_a_drop_is_that_of_every_record(known):
    drops = robustness.measure(known).drops["ultrafeedback-french"]
    assert drops["implicit"].loss.difference.value == pytest.approx(26 / 40)
    assert drops["implicit"].flip_rate.value == pytest.approx(26 / 40)
    assert (drops["explicit"].loss.difference.value, drops["explicit"].loss.n) == (0, 40)
    assert "ultrafeedback" not in robustness.measure(known).drops


def test_runs_of_a_record_are_no_further_records(known, tmp_path):
    """Three seeds that agree know no more than one: their interval is not narrower."""
    single = results_of(write_grid(tmp_path, replace(GRID, seeds=(0,)), first_right))
    one, three = (
        robustness.measure(results).drops["ultrafeedback-french"]["implicit"].loss.difference
        for results in (single, known)
    )
    assert three.high - three.low == pytest.approx(one.high - one.low, abs=0.01)


def blind(tmp_path: Path, lengths: Sequence[tuple[int, int]], right: int = 10) -> Results:
    """Explicit models that are right on the first of 40 records, with lengths for all."""
    grid = replace(GRID, kinds=("explicit",), sets={"ultrafeedback": ("in-distribution", None)})
    folder = write_grid(
        tmp_path, grid, lambda *_: [(1.0, 0.0)] * right + [(0.0, 1.0)] * (40 - right)
    )
    for path in folder.rglob("scores/*.jsonl"):
        write_scores(
            path,
            [
                replace(row, tokens_chosen=(chosen,), tokens_rejected=(rejected,))
                for row, (chosen, rejected) in zip(read_scores(path), lengths, strict=True)
            ],
        )
    return results_of(folder)


def test_a_rule_that_does_better_is_called_out(tmp_path):
    """The longer response is right on all but the first record: 39 of 40 against 10 of 40."""
    results = blind(tmp_path, [(1, 2)] + [(2, 1)] * 39)
    comparison = baselines.measure(results)["ultrafeedback"]["explicit", "longer"]
    assert comparison.difference.value == pytest.approx((10 - 39) / 40)
    caution = texts(findings(results), "caution")
    assert caution == (
        "On ultrafeedback the best content-blind baseline, “longer wins” (0.975), "
        "is more accurate than explicit (0.250) models."
    )


def test_a_model_that_is_not_shown_to_beat_a_rule_is_called_out(tmp_path):
    """Responses of equal length: every rule is right on half of the records, the models on 22."""
    results = blind(tmp_path, [(1, 1)] * 40, right=22)
    caution = texts(findings(results), "caution")
    assert "(0.500), cannot be told from explicit (0.550) models." in caution


def test_a_rule_that_only_some_models_know_is_compared_with_those(tmp_path):
    """Files of other tools may lack lengths and a bag of words."""
    folder = write_grid(tmp_path, GRID, first_right)
    for path in folder.glob("m/implicit/*/scores/*.jsonl"):
        bare = [
            replace(row, tokens_chosen=(), tokens_rejected=(), baselines={})
            for row in read_scores(path)
        ]
        write_scores(path, bare)
    results = results_of(folder)
    compared = baselines.measure(results)["ultrafeedback"]
    assert {kind for kind, rule in compared if rule == "longer"} == {"explicit", "generative"}
    said = texts(findings(results), "difference")
    assert (
        "explicit and generative models are more accurate than every content-blind baseline" in said
    )
    assert "every kind is" not in said


def test_every_kind_must_beat_every_rule(tmp_path):
    """The best rule is right on 36 of 40 records, and so are implicit models; explicit on all."""
    right = {"explicit": 40, "implicit": 36}
    grid = replace(
        GRID, kinds=("explicit", "implicit"), sets={"ultrafeedback": ("in-distribution", None)}
    )
    folder = write_grid(
        tmp_path,
        grid,
        lambda grid, model, kind, seed, name: (
            [(1.0, 0.0)] * right[kind] + [(0.0, 1.0)] * (40 - right[kind])
        ),
    )
    for path in folder.rglob("scores/*.jsonl"):
        write_scores(
            path,
            [
                replace(row, baselines={"weak": ((0.0,), (0.0,)), "strong": ((1.0,), (0.0,))})
                if index < 36
                else replace(row, baselines={"weak": ((0.0,), (0.0,)), "strong": ((0.0,), (1.0,))})
                for index, row in enumerate(read_scores(path))
            ],
        )
    results = results_of(folder)
    found = findings(results)
    assert "content-blind baseline, “strong” (0.900), cannot be told from " in texts(
        found, "caution"
    )
    assert "implicit (0.900)" in texts(found, "caution")
    assert "every kind is more accurate" not in texts(found, "difference")


def test_models_that_beat_every_rule_are_said_to(tmp_path):
    results = blind(tmp_path, [(1, 1)] * 40, right=40)
    said = texts(findings(results), "difference")
    assert said == (
        "On ultrafeedback every kind is more accurate than every content-blind baseline."
    )


def test_models_that_follow_length_are_called_out(tmp_path):
    """Where the longer response loses, on the last 30 records, explicit models are always wrong."""
    results = blind(tmp_path, [(2, 1)] * 10 + [(1, 2)] * 30)
    caution = texts(findings(results), "caution")
    assert "where the longer response loses, explicit models reach 0.000" in caution


def test_the_sentences(known):
    results = known
    beside = [table for table in paper_tables({"chat": results}) if table.experiment]
    found = [*findings(results), *beside_paper(beside)]
    differences, alike = texts(found, "difference"), texts(found, "alike")
    assert (
        "Explicit models are more accurate than implicit ones on ultrafeedback-french by 0.650"
        in differences
    )
    assert "Generative models are more accurate than implicit ones" in differences
    assert "implicit ones on ultrafeedback by" not in differences
    assert "Explicit, generative and implicit cannot be told apart on ultrafeedback." in alike
    assert "Reworded as ultrafeedback-french, implicit models lose 0.650" in differences
    assert "turn 65% of their verdicts; explicit and generative models lose nothing" in differences
    assert texts(found, "paper").startswith("Of ")


def test_a_drop_needs_a_test_corrected_for_all_drops(tmp_path):
    """Six of 40 records lost: p is 2/64 alone, and not below 0.05 among two such kinds."""
    right = {"explicit": (36, 30), "implicit": (36, 30)}

    def some_lost(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        count = right[kind][name == "ultrafeedback-french"]
        return [(1.0, 0.0)] * count + [(0.0, 1.0)] * (RECORDS - count)

    results = results_of(
        write_grid(tmp_path, replace(GRID, kinds=("explicit", "implicit")), some_lost)
    )
    drops = robustness.measure(results).drops["ultrafeedback-french"]
    assert drops["explicit"].loss.permutation_p == pytest.approx(binomtest(6, 6).pvalue)
    alone = [each.loss.permutation_p for each in drops.values()]
    expected = multipletests(alone, method="holm")[1]
    assert [each.loss.holm_p for each in drops.values()] == pytest.approx(list(expected))
    assert drops["explicit"].loss.difference.low > 0, "the interval alone would have claimed it"
    found = findings(results)
    assert "no kind loses accuracy" in texts(found, "alike")
    assert "Reworded" not in texts(found, "difference")


def test_a_rewording_that_gains_is_not_said_to_lose(tmp_path):
    def gained(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        count = 40 if name == "ultrafeedback-french" else 20
        return [(1.0, 0.0)] * count + [(0.0, 1.0)] * (RECORDS - count)

    results = results_of(write_grid(tmp_path, replace(GRID, kinds=("explicit",)), gained))
    said = texts(findings(results), "difference")
    assert "Reworded as ultrafeedback-french, explicit models gain 0.500" in said
    assert "and turn 50% of their verdicts" in said


def test_a_set_that_is_no_rewording_is_said_to_be_none(tmp_path):
    folder = write_grid(tmp_path, replace(GRID, kinds=("explicit",)), first_right)
    for path in folder.rglob("scores/*.jsonl"):
        rows = [replace(row, prompt=path.stem) for row in read_scores(path)]
        write_scores(path, rows)
    results = results_of(folder)
    assert robustness.measure(results).drops == {} and accuracy.measure(
        results
    ).overall.keys() == set(GRID.sets)
    said = texts(findings(results), "caution")
    assert "costs is not known: ultrafeedback and ultrafeedback-french are not counterparts" in said


def models_of(tmp_path: Path, right: Mapping[str, int]) -> Results:
    """Explicit models from several initial models, by how many of 40 records they rank right."""
    grid = Grid(
        models=tuple(right), kinds=("explicit",), seeds=(0, 1), records=RECORDS,
        sets={"ultrafeedback": ("in-distribution", None)},
    )  # fmt: skip
    return results_of(
        write_grid(
            tmp_path,
            grid,
            lambda grid, model, kind, seed, name: (
                [(1.0, 0.0)] * right[model] + [(0.0, 1.0)] * (RECORDS - right[model])
            ),
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
    assert [row[-1] for row in within.rows] == ["cannot be told apart", "a is ahead", "b is ahead"]


def test_many_differences_within_a_kind_are_counted(tmp_path):
    """All six pairs of models with 10, 20, 30 and 40 right answers differ; three are named."""
    results = models_of(tmp_path, {"a": 40, "b": 30, "c": 20, "d": 10})
    said = texts(findings(results), "difference")
    assert said.count("is more accurate than “") == 3
    assert "3 more such differences are in the table" in said


def test_a_setting_is_compared_with_the_experiments_own(tmp_path):
    grid = replace(GRID, name="hyperparameters", variations=("", "beta=0.1"))
    results = results_of(write_grid(tmp_path, grid, first_right))
    found = comparisons.measure(results).models["ultrafeedback", "implicit"]["m", "m, beta=0.1"]
    assert (found.difference.value, found.holm_p) == (0, 1)


def test_variations_do_not_blur_the_experiment(tmp_path):
    """The figures of all models together are those of the experiment's own settings."""

    def worse_when_varied(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        return first_right(grid, model, kind, seed, name)

    grid = replace(GRID, name="hyperparameters", variations=("", "beta=0.1"))
    folder = write_grid(tmp_path, grid, worse_when_varied)
    for path in folder.glob("m/*/seed-*/beta-0.1/scores/*.jsonl"):
        flipped = [
            replace(row, scores_chosen=row.scores_rejected, scores_rejected=row.scores_chosen)
            for row in read_scores(path)
        ]
        write_scores(path, flipped)
    results = results_of(folder)
    overall: Mapping[str, float] = {
        kind: each.accuracy.value
        for kind, each in accuracy.measure(results).overall["ultrafeedback"].items()
    }
    assert overall == pytest.approx({"explicit": 0.9, "generative": 0.875, "implicit": 0.9})
    varied = accuracy.measure(results).by_model["ultrafeedback"]["m, beta=0.1", "explicit"]
    assert varied.accuracy.value == pytest.approx(0.1)


def test_grids_of_styles_have_a_table_of_their_own(tmp_path):
    """A chosen reward of 1 in both styles beats a plain rejected 0, and not an elaborate 2."""
    folder = write_grid(tmp_path, GRID)
    for path in folder.glob("*/*/seed-*/scores/ultrafeedback.jsonl"):
        rows = read_scores(path)
        write_scores(path, (ScoreRow(row.id, (1.0, 1.0), (0.0, 2.0)) for row in rows))
    results = results_of(folder)
    table = tables(results)["Where style helps and where it misleads"]
    assert {row[0] for row in table.rows} == {"ultrafeedback"}
    for row in table.rows:
        assert [cell.split()[0] for cell in row[2:]] == ["1.000", "0.500", "0.000"]


def logged(folder: Path, kind: str, seed: int, rows: Sequence[tuple[float, float | None]]) -> None:
    """Write a log of (training loss, accuracy on ultrafeedback where it was evaluated)."""
    lines = [
        {"step": step, "loss": loss, "accuracy": 0.5, "margin": 1.0}
        | ({} if value is None else {"eval_accuracy/ultrafeedback": value})
        for step, (loss, value) in enumerate(rows, start=1)
    ]
    path = folder / f"m/{kind}/seed-{seed}/log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_accuracy_is_set_against_the_training_loss_since_the_evaluation_before(tmp_path):
    grid = replace(GRID, kinds=("explicit", "implicit"), seeds=(0, 1))
    folder = write_grid(tmp_path, grid, first_right)
    logged(folder, "explicit", 0, [(0.7, None), (0.5, 0.6), (0.4, None), (0.1, 0.8)])
    logged(folder, "explicit", 1, [(0.7, None), (0.7, 0.5), (0.3, 0.6)])
    results = results_of(folder)
    evaluated = {c.run: c.evaluations for c in training.measure(results) if c.evaluations}
    assert evaluated == {
        "m, explicit, seed 0": {
            "ultrafeedback": (pytest.approx((0.6, 0.6)), pytest.approx((0.25, 0.8)))
        },
        "m, explicit, seed 1": {
            "ultrafeedback": (pytest.approx((0.7, 0.5)), pytest.approx((0.3, 0.6)))
        },
    }
    table = tables(results)["Accuracy at equal training loss"]
    assert table.headings == ["set", "kind", "0.6", "0.5", "0.3", "0.1", "0.03", "0.01"]
    # At 0.6 seed 0 has 0.6 and seed 1, which comes there later, 0.6; at 0.3 they have 0.8 and 0.6.
    assert table.rows == [
        ["ultrafeedback", "explicit", "0.600 ± 0.000", *["0.700 ± 0.100"] * 2, "–", "–", "–"]
    ]
    (chart,) = figures(results)["Along training"].variants.values()
    assert len(next(iter(chart.to_dict()["datasets"].values()))) == 4


def test_the_table_for_the_terminal(tmp_path):
    """Figure 4 has 0.022 for implicit models on reworded training prompts."""
    grid = replace(
        GRID,
        name="demo",
        kinds=("explicit", "implicit"),
        seeds=(0, 1),
        sets={
            "original-test": ("in-distribution", None),
            "paraphrased-train": ("token-level", None),
        },
    )

    def by_seed(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        right = 40 if kind == "explicit" else 10 * (seed + 1)
        return [(1.0, 0.0)] * right + [(0.0, 1.0)] * (RECORDS - right)

    table = accuracy.terminal_table(results_of(write_grid(tmp_path, grid, by_seed)))
    lines = [re.split("  +", line) for line in table.splitlines()]
    assert lines[0] == ["", "original-test", "paraphrased-train"]
    assert lines[1] == ["explicit", "1.000 ± 0.000 [1.000]", "1.000 ± 0.000 [1.000]"]
    assert lines[2] == ["implicit", "0.375 ± 0.125 [1.000]", "0.375 ± 0.125 [0.022]"]
    assert ["(bag of words)", "0.500", "0.500"] in lines


def test_one_tidy_frame(known):
    frame = known.frame
    assert tuple(frame.columns) == COLUMNS
    chosen = frame[(frame["set"] == "ultrafeedback-french") & (frame["metric"] == "accuracy")]
    means = chosen.groupby("kind")["value"].mean()
    assert dict(means) == pytest.approx({"explicit": 0.9, "generative": 0.875, "implicit": 0.25})
    assert set(chosen.loc[chosen["kind"] == "implicit", "paper"]) == {0.616}
    assert len(frame) == 2 * 9 * 6  # sets, runs, and two metrics with four baselines
