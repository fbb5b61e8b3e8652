"""The report's statistics and sentences, on scores whose outcome is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from grids import Grid, Rewards, measured_of, texts, write_grid
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from rewardgap.evaluation.comparisons import compare
from rewardgap.evaluation.scores import ScoreRow, read_scores, write_scores
from rewardgap.reporting.analysis import Analysis, analyse
from rewardgap.reporting.details import details
from rewardgap.reporting.paper.tables import paper_tables
from rewardgap.reporting.results import Measured
from rewardgap.reporting.words import findings, listed

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
def known(tmp_path_factory) -> tuple[Measured, Analysis]:
    measured = measured_of(write_grid(tmp_path_factory.mktemp("grid"), GRID, first_right))
    return measured, analyse(measured)


def test_kinds_are_compared_over_their_runs(known):
    """On the rewording explicit is right on 26 more records, and nowhere behind."""
    comparison = known[1].kinds["ultrafeedback-french"]["explicit", "implicit"]
    assert (comparison.n, comparison.wins, comparison.losses) == (40, 26, 0)
    assert comparison.difference.value == pytest.approx(26 / 40)
    exact = binomtest(26, 26).pvalue
    assert comparison.permutation_p == pytest.approx(exact)
    assert comparison.mcnemar_p == pytest.approx(exact)


def test_p_values_are_adjusted_over_all_sets(known):
    found = [each for some in known[1].kinds.values() for each in some.values()]
    assert len(found) == 6
    expected = multipletests([each.permutation_p for each in found], method="holm")[1]
    assert [each.holm_p for each in found] == pytest.approx(list(expected))
    expected = multipletests([each.permutation_p for each in found], method="fdr_bh")[1]
    assert [each.bh_p for each in found] == pytest.approx(list(expected))


def test_groups_that_no_test_tells_apart(known):
    assert known[1].groups == {
        "ultrafeedback": [("explicit", "generative", "implicit")],
        "ultrafeedback-french": [("explicit", "generative"), ("implicit",)],
    }


def test_seeds_that_differ_too_much_separate_nothing(tmp_path):
    """Gains of ½, ½ and 1/20: the test of these runs is sure, the interval over runs is not."""
    right = {"explicit": (40, 40, 22), "implicit": (20, 20, 20)}

    def by_seed(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        return [(1.0, 0.0)] * right[kind][seed] + [(0.0, 1.0)] * (40 - right[kind][seed])

    grid = replace(GRID, kinds=("explicit", "implicit"))
    measured = measured_of(write_grid(tmp_path, grid, by_seed))
    analysis = analyse(measured)
    comparison = analysis.kinds["ultrafeedback"]["explicit", "implicit"]
    assert comparison.difference.value == pytest.approx(0.35)
    assert comparison.holm_p < 0.05 and comparison.difference.low < 0
    assert analysis.groups["ultrafeedback"] == [("explicit", "implicit")]
    assert "more accurate than implicit" not in texts(
        findings(measured, analysis, []), "difference"
    )
    (table,) = [each for each in details(measured, analysis) if each.title.startswith("Kinds")]
    assert table.rows[0][-1] == "these runs differ, others may not"


def test_a_single_run_is_compared_as_metrics_compares_it(tmp_path):
    folder = write_grid(tmp_path, replace(GRID, kinds=("explicit", "implicit"), seeds=(3,)))
    measured = measured_of(folder)
    ours = analyse(measured).kinds["ultrafeedback"]["explicit", "implicit"]
    by_kind = {cell.kind: rows for cell, rows in measured.rows["ultrafeedback"].items()}
    theirs = compare(by_kind["explicit"], by_kind["implicit"])
    assert ours.difference == theirs.difference
    assert (ours.mcnemar_p, ours.permutation_p) == (theirs.mcnemar_p, theirs.permutation_p)


def test_a_drop_is_that_of_every_record(known):
    drops = known[1].drops["ultrafeedback-french"]
    assert drops["implicit"].drop.value == pytest.approx(26 / 40)
    assert drops["implicit"].flip_rate.value == pytest.approx(26 / 40)
    assert (drops["explicit"].drop.value, drops["explicit"].n) == (0, 40)
    assert "ultrafeedback" not in known[1].drops


def test_runs_of_a_record_are_no_further_records(known, tmp_path):
    """Three seeds that agree know no more than one: their interval is not narrower."""
    single = measured_of(write_grid(tmp_path, replace(GRID, seeds=(0,)), first_right))
    one, three = (
        each.drops["ultrafeedback-french"]["implicit"].drop for each in (analyse(single), known[1])
    )
    assert three.high - three.low == pytest.approx(one.high - one.low, abs=0.01)


def blind(tmp_path: Path, lengths: Sequence[tuple[int, int]], right: int = 10) -> Measured:
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
    return measured_of(folder)


def test_a_rule_that_does_better_is_called_out(tmp_path):
    """The longer response is right on all but the first record: 39 of 40 against 10 of 40."""
    measured = blind(tmp_path, [(1, 2)] + [(2, 1)] * 39)
    analysis = analyse(measured)
    comparison = analysis.blind["ultrafeedback"]["explicit", "longer"]
    assert comparison.difference.value == pytest.approx((10 - 39) / 40)
    caution = texts(findings(measured, analysis, []), "caution")
    assert caution == (
        "On ultrafeedback the best content-blind rule, “longer wins” (0.975), "
        "is more accurate than explicit (0.250) models."
    )


def test_a_model_that_is_not_shown_to_beat_a_rule_is_called_out(tmp_path):
    """Responses of equal length: every rule is right on half of the records, the models on 22."""
    measured = blind(tmp_path, [(1, 1)] * 40, right=22)
    caution = texts(findings(measured, analyse(measured), []), "caution")
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
    measured = measured_of(folder)
    analysis = analyse(measured)
    compared = analysis.blind["ultrafeedback"]
    assert {kind for kind, rule in compared if rule == "longer"} == {"explicit", "generative"}
    said = texts(findings(measured, analysis, []), "difference")
    assert "explicit and generative models are more accurate than every content-blind rule" in said
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
    measured = measured_of(folder)
    found = findings(measured, analyse(measured), [])
    assert "content-blind rule, “strong” (0.900), cannot be told from " in texts(found, "caution")
    assert "implicit (0.900)" in texts(found, "caution")
    assert "every kind is more accurate" not in texts(found, "difference")


def test_models_that_beat_every_rule_are_said_to(tmp_path):
    measured = blind(tmp_path, [(1, 1)] * 40, right=40)
    said = texts(findings(measured, analyse(measured), []), "difference")
    assert said == ("On ultrafeedback every kind is more accurate than every content-blind rule.")


def test_models_that_follow_length_are_called_out(tmp_path):
    """Where the longer response loses, on the last 30 records, explicit models are always wrong."""
    measured = blind(tmp_path, [(2, 1)] * 10 + [(1, 2)] * 30)
    caution = texts(findings(measured, analyse(measured), []), "caution")
    assert "where the longer response loses, explicit models reach 0.000" in caution


def test_the_sentences(known):
    measured, analysis = known
    tables = [table for table in paper_tables({"chat": measured}) if table.experiment]
    found = findings(measured, analysis, tables)
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

    measured = measured_of(
        write_grid(tmp_path, replace(GRID, kinds=("explicit", "implicit")), some_lost)
    )
    analysis = analyse(measured)
    drops = analysis.drops["ultrafeedback-french"]
    assert drops["explicit"].loss.permutation_p == pytest.approx(binomtest(6, 6).pvalue)
    alone = [each.loss.permutation_p for each in drops.values()]
    expected = multipletests(alone, method="holm")[1]
    assert [each.loss.holm_p for each in drops.values()] == pytest.approx(list(expected))
    assert drops["explicit"].drop.low > 0, "the interval alone would have claimed it"
    found = findings(measured, analysis, [])
    assert "no kind loses accuracy" in texts(found, "alike")
    assert "Reworded" not in texts(found, "difference")


def test_a_rewording_that_gains_is_not_said_to_lose(tmp_path):
    def gained(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        count = 40 if name == "ultrafeedback-french" else 20
        return [(1.0, 0.0)] * count + [(0.0, 1.0)] * (RECORDS - count)

    measured = measured_of(write_grid(tmp_path, replace(GRID, kinds=("explicit",)), gained))
    said = texts(findings(measured, analyse(measured), []), "difference")
    assert "Reworded as ultrafeedback-french, explicit models gain 0.500" in said
    assert "and turn 50% of their verdicts" in said


def test_a_set_that_is_no_rewording_is_said_to_be_none(tmp_path):
    folder = write_grid(tmp_path, replace(GRID, kinds=("explicit",)), first_right)
    for path in folder.rglob("scores/*.jsonl"):
        rows = [replace(row, prompt=path.stem) for row in read_scores(path)]
        write_scores(path, rows)
    measured = measured_of(folder)
    analysis = analyse(measured)
    assert analysis.drops == {} and analysis.overall.keys() == set(GRID.sets)
    said = texts(findings(measured, analysis, []), "caution")
    assert "costs is not known: ultrafeedback and ultrafeedback-french are not counterparts" in said


def models_of(tmp_path: Path, right: Mapping[str, int]) -> Measured:
    """Explicit models from several initial models, by how many of 40 records they rank right."""
    grid = Grid(
        models=tuple(right), kinds=("explicit",), seeds=(0, 1), records=RECORDS,
        sets={"ultrafeedback": ("in-distribution", None)},
    )  # fmt: skip
    return measured_of(
        write_grid(
            tmp_path,
            grid,
            lambda grid, model, kind, seed, name: (
                [(1.0, 0.0)] * right[model] + [(0.0, 1.0)] * (RECORDS - right[model])
            ),
        )
    )


def test_initial_models_are_compared_within_a_kind(tmp_path):
    measured = models_of(tmp_path, {"a": 40, "b": 39, "c": 20})
    analysis = analyse(measured)
    found = analysis.subjects["ultrafeedback", "explicit"]
    assert {pair: each.difference.value for pair, each in found.items()} == pytest.approx(
        {("a", "b"): 1 / 40, ("a", "c"): 20 / 40, ("b", "c"): 19 / 40}
    )
    alone = [binomtest(n, n).pvalue for n in (1, 20, 19)]
    assert [each.permutation_p for each in found.values()] == pytest.approx(alone)
    assert [each.holm_p for each in found.values()] == pytest.approx(
        list(multipletests(alone, method="holm")[1])
    )
    assert analysis.subject_groups["ultrafeedback", "explicit"] == [("a", "b"), ("c",)]
    said = findings(measured, analysis, [])
    assert "Of explicit models, “a” is more accurate than “c” on ultrafeedback by 0.500" in texts(
        said, "difference"
    )
    assert "Of explicit models, “a” and “b” cannot be told apart" in texts(said, "alike")
    tables = {table.title: table for table in details(measured, analysis)}
    assert ["ultrafeedback", "explicit models", "a and b; c"] in [
        list(row) for row in tables["Groups that cannot be told apart"].rows
    ]
    (within,) = [table for title, table in tables.items() if "within a kind" in title]
    assert [row[-1] for row in within.rows] == ["cannot be told apart", "a is ahead", "b is ahead"]


def test_many_differences_within_a_kind_are_counted(tmp_path):
    """All six pairs of models with 10, 20, 30 and 40 right answers differ; three are named."""
    measured = models_of(tmp_path, {"a": 40, "b": 30, "c": 20, "d": 10})
    said = texts(findings(measured, analyse(measured), []), "difference")
    assert said.count("is more accurate than “") == 3
    assert "3 more such differences are in the table" in said


def test_a_setting_is_compared_with_the_experiments_own(tmp_path):
    grid = replace(GRID, name="hyperparameters", variations=("", "beta=0.1"))
    analysis = analyse(measured_of(write_grid(tmp_path, grid, first_right)))
    found = analysis.subjects["ultrafeedback", "implicit"]["m", "m, beta=0.1"]
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
    analysis = analyse(measured_of(folder))
    overall: Mapping[str, float] = {
        kind: each.accuracy.value for kind, each in analysis.overall["ultrafeedback"].items()
    }
    assert overall == pytest.approx({"explicit": 0.9, "generative": 0.875, "implicit": 0.9})
    varied = analysis.by_subject["ultrafeedback"]["m, beta=0.1", "explicit"]
    assert varied.accuracy.value == pytest.approx(0.1)


def test_grids_of_styles_have_a_table_of_their_own(tmp_path):
    """A chosen reward of 1 in both styles beats a plain rejected 0, and not an elaborate 2."""
    folder = write_grid(tmp_path, GRID)
    for path in folder.glob("*/*/seed-*/scores/ultrafeedback.jsonl"):
        rows = read_scores(path)
        write_scores(path, (ScoreRow(row.id, (1.0, 1.0), (0.0, 2.0)) for row in rows))
    measured = measured_of(folder)
    (table,) = [t for t in details(measured, analyse(measured)) if "style" in t.title]
    assert {row[0] for row in table.rows} == {"ultrafeedback"}
    for row in table.rows:
        assert [cell.split()[0] for cell in row[2:]] == ["1.000", "0.500", "0.000"]


def test_lists_of_names():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
