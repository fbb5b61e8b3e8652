"""Every table of the paper from score files whose cells are worked out by hand."""

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
from grids import Grid, Rewards, ranked, write_grid

from rewardgap.reporting.paper.printed import printed, printed_separator_shares, printed_win_rates
from rewardgap.reporting.paper.tables import Entry, Table, absent_tables, own_table, paper_tables
from rewardgap.reporting.paper.writing import comma_separated, latex, markdown
from rewardgap.reporting.results import measure
from rewardgap.reporting.runs import read_grids

RECORDS = 20
CHAT = Grid(
    models=("A", "B"),
    kinds=("explicit", "generative", "implicit"),
    seeds=(0, 1),
    sets={
        "ultrafeedback": ("in-distribution", None),
        "ultrafeedback-french": ("token-level", None),
        "ultrafeedback-spanish": ("token-level", None),
        "rewardmath": ("domain", None),
    },
    records=RECORDS,
)
MATH = replace(
    CHAT,
    name="math",
    train="rewardmath",
    sets={"rewardmath": ("in-distribution", None), "rewardbench-math": ("token-level", None)},
)

# How many of 20 records are ranked right by (A, seed 0), (B, seed 0), (A, seed 1), (B, seed 1).
RIGHT: Mapping[tuple[str, str], tuple[int, int, int, int]] = {
    ("explicit", "ultrafeedback"): (16, 14, 18, 16),  # 0.75, 0.85: 0.8 ± 0.05
    ("explicit", "ultrafeedback-french"): (10, 10, 10, 10),
    ("explicit", "ultrafeedback-spanish"): (12, 12, 14, 14),  # with French 0.55, 0.6: 0.575 ± 0.025
    ("explicit", "rewardmath"): (12, 12, 13, 11),  # 0.6, 0.6
    ("explicit", "rewardbench-math"): (20, 20, 20, 20),
    ("generative", "ultrafeedback"): (14, 14, 14, 14),
    ("generative", "ultrafeedback-french"): (12, 12, 12, 12),
    ("generative", "ultrafeedback-spanish"): (12, 12, 12, 12),
    ("generative", "rewardmath"): (8, 12, 16, 16),  # 0.5, 0.8: 0.65 ± 0.15
    ("generative", "rewardbench-math"): (18, 18, 18, 18),
    ("implicit", "ultrafeedback"): (12, 12, 12, 12),
    ("implicit", "ultrafeedback-french"): (14, 14, 14, 14),
    ("implicit", "ultrafeedback-spanish"): (12, 12, 12, 12),  # with French 0.65
    ("implicit", "rewardmath"): (12, 12, 12, 12),
    ("implicit", "rewardbench-math"): (10, 10, 10, 10),
}


def counted(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
    """Rewards 1 and 0: half of all are 1, so their deviation is ½ and the margin 1 / ½ = 2."""
    right = RIGHT[kind, name][2 * seed + (model == "B")]
    return ranked(right, RECORDS)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Table]:
    folder = tmp_path_factory.mktemp("grids")
    for grid in (CHAT, MATH):
        write_grid(folder / grid.name, grid, counted)
    measured = {each.name: measure(each) for each in read_grids([str(folder)])}
    made = [*paper_tables(measured), own_table(measured["chat"])]
    return {table.name: table for table in made}


def entry(table: Table, label: str, column: tuple[str, str], group: str | None = None) -> Entry:
    rows = [row for row in table.rows if row.label == label and group in (None, row.group)]
    assert len(rows) == 1
    return rows[0].entries[table.columns.index(column)]


def test_all_ten_tables_are_there(tables):
    assert list(tables) == [*(f"table-{number}" for number in range(1, 11)), "chat-by-set"]
    assert absent_tables([]) == [f"table-{number}" for number in range(1, 11)]
    assert absent_tables(list(tables.values())) == []


@pytest.mark.parametrize(
    ("number", "training", "category", "kind", "mean", "deviation"),
    [
        (1, "UltraFeedback", "in-distribution", "explicit", 0.8, 0.05),
        (1, "UltraFeedback", "in-distribution", "implicit", 0.6, 0.0),
        (1, "UltraFeedback", "token-level", "explicit", 0.575, 0.025),
        (1, "UltraFeedback", "token-level", "implicit", 0.65, 0.0),
        (1, "UltraFeedback", "domain", "explicit", 0.6, 0.0),
        (1, "RewardMATH", "token-level", "explicit", 1.0, 0.0),
        (6, "UltraFeedback", "domain", "generative", 0.65, 0.15),
        (6, "RewardMATH", "in-distribution", "generative", 0.65, 0.15),
        (6, "RewardMATH", "token-level", "implicit", 0.5, 0.0),
    ],
)
def test_accuracy_by_category(tables, number, training, category, kind, mean, deviation):
    found = entry(tables[f"table-{number}"], category, ("accuracy", kind), training)
    assert (found.value, found.deviation) == pytest.approx((mean, deviation))
    separation = entry(tables[f"table-{number}"], category, ("separation", kind), training)
    assert separation.value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("number", "name", "kind", "mean", "deviation"),
    [
        (3, "ultrafeedback", "explicit", 0.8, 0.05),
        (3, "ultrafeedback-spanish", "explicit", 0.65, 0.05),
        (5, "rewardbench-math", "implicit", 0.5, 0.0),
        (8, "rewardmath", "generative", 0.65, 0.15),
        (10, "rewardbench-math", "generative", 0.9, 0.0),
    ],
)
def test_accuracy_by_set(tables, number, name, kind, mean, deviation):
    found = entry(tables[f"table-{number}"], name, ("accuracy", kind))
    assert (found.value, found.deviation) == pytest.approx((mean, deviation))


@pytest.mark.parametrize(
    ("number", "name", "kind", "shares"),
    [
        (2, "ultrafeedback", "explicit", (100, 0, 0)),  # 16, 14, 18, 16 against 12
        (2, "ultrafeedback-french", "explicit", (0, 0, 100)),
        (2, "rewardmath", "explicit", (25, 50, 25)),  # 12, 12, 13, 11 against 12
        (4, "rewardbench-math", "explicit", (100, 0, 0)),
        (7, "ultrafeedback-spanish", "generative", (0, 100, 0)),
        (9, "rewardmath", "generative", (50, 25, 25)),  # 8, 12, 16, 16 against 12
    ],
)
def test_win_rates(tables, number, name, kind, shares):
    table = tables[f"table-{number}"]
    row = next(row for row in table.rows if row.label == name)
    assert [column[1] for column in table.columns] == [kind, "tie", "implicit"]
    assert [each.value for each in row.entries] == pytest.approx(shares)


def test_differences_are_in_units_of_both_deviations(tables):
    """The paper prints 0.752 ± 0.009 for explicit models on UltraFeedback, 0.646 ± 0.006 else."""
    explicit = entry(tables["table-3"], "ultrafeedback", ("accuracy", "explicit"))
    assert explicit.difference == pytest.approx((0.8 - 0.752) / sqrt(0.05**2 + 0.009**2))
    implicit = entry(tables["table-3"], "ultrafeedback", ("accuracy", "implicit"))
    assert implicit.difference == pytest.approx((0.6 - 0.646) / 0.006)


def test_differences_of_win_rates_are_binomial(tables):
    """Ours 1 of 4, the paper's 38.9 % of 18, each with one success and one failure added."""
    found = entry(tables["table-2"], "rewardmath", ("win rate (%)", "explicit"))
    ours, paper = (1 + 1) / (4 + 2), (0.389 * 18 + 1) / (18 + 2)
    unit = 100 * sqrt(ours * (1 - ours) / 4 + paper * (1 - paper) / 18)
    assert found.difference == pytest.approx((25 - 38.9) / unit)


def test_separations_with_ties_and_outliers_by_hand(tmp_path):
    """Rewards 1, 0, 0, 1, 3, 0, 0, 0: mean 5/8, variance 11/8 - 25/64 = 63/64, gaps 1, 1, 3, 0."""
    rewards = [(1.0, 0.0), (0.0, 1.0), (3.0, 0.0), (0.0, 0.0)]
    grid = replace(MATH, models=("A",), seeds=(0,), records=4)
    write_grid(tmp_path, grid, lambda *_: rewards)
    measured = measure(read_grids([str(tmp_path)])[0])
    found = next(table for table in paper_tables({"math": measured}) if table.name == "table-5")
    shown = entry(found, "rewardmath", ("separation", "explicit"))
    assert (shown.value, shown.deviation) == (pytest.approx(1.25 / sqrt(63 / 64)), None)
    # The paper prints 1.602 ± 0.011; how our seeds differ is not known.
    assert shown.difference == pytest.approx((1.25 / sqrt(63 / 64) - 1.602) / 0.011)
    assert entry(found, "rewardmath", ("accuracy", "explicit")).value == 2.5 / 4


def test_an_unfinished_grid_is_marked(tmp_path):
    """Without (B, seed 1) the seeds' means are 0.75 and 0.9."""
    folder = write_grid(tmp_path, CHAT, counted)
    (folder / "B/explicit/seed-1/scores/ultrafeedback.jsonl").unlink()
    measured = measure(read_grids([str(folder)])[0])
    made = {table.name: table for table in paper_tables({"chat": measured})}
    found = entry(made["table-3"], "ultrafeedback", ("accuracy", "explicit"))
    assert (found.value, found.deviation, found.partial) == pytest.approx((0.825, 0.075, True))
    assert "0.825 ± 0.075†" in markdown(made["table-3"])
    won = entry(made["table-2"], "ultrafeedback", ("win rate (%)", "explicit"))
    assert won.partial and won.value == 100
    assert absent_tables(list(made.values())) == ["table-4", "table-5", "table-9", "table-10"]


def test_a_table_without_both_kinds_is_left_out(tmp_path):
    grid = replace(CHAT, kinds=("explicit",))
    write_grid(tmp_path, grid, counted)
    measured = measure(read_grids([str(tmp_path)])[0])
    assert paper_tables({"chat": measured}) == []
    assert own_table(measured).columns[:2] == (("accuracy", "explicit"), ("separation", "explicit"))


def test_baselines_stand_beside_our_own_numbers(tables):
    """The bag of words of made-up grids is right on every other record."""
    table = tables["chat-by-set"]
    rules = [rule for what, rule in table.columns if what == "baseline"]
    assert rules == ["longer wins", "shorter wins", "bag of words"]
    blind = {rule: entry(table, "rewardmath", ("baseline", rule)).value for rule in rules}
    assert blind["bag of words"] == 0.5
    assert blind["longer wins"] + blind["shorter wins"] == pytest.approx(1.0)


def test_the_papers_largest_deviation_where_it_prints_no_other(tmp_path):
    """Figure 4: 0.019 for implicit models on paraphrased tests, no deviation above 0.04."""
    sets = {"paraphrased-test": ("token-level", None), "crossed-test": ("token-level", None)}
    grid = replace(CHAT, name="persona", sets=sets, models=("A",), seeds=(0,))
    write_grid(tmp_path, grid, lambda *_: [(1.0, 0.0)] + [(0.0, 1.0)] * (RECORDS - 1))
    table = own_table(measure(read_grids([str(tmp_path)])[0]))
    found = entry(table, "paraphrased-test", ("accuracy", "implicit"))
    assert found.difference == pytest.approx((0.05 - 0.019) / 0.04)
    assert entry(table, "crossed-test", ("accuracy", "implicit")).difference is None
    assert any(note.startswith("Difference:") for note in table.notes)
    without = own_table(measure(replace(read_grids([str(tmp_path)])[0], name="mine")))
    assert not any(note.startswith("Difference:") for note in without.notes)


def test_variations_are_lines_of_their_own(tmp_path):
    grid = replace(CHAT, name="hyperparameters", variations=("", "beta=0.1"))
    write_grid(tmp_path, grid, counted)
    measured = measure(read_grids([str(tmp_path)])[0])
    groups = dict.fromkeys(row.group for row in own_table(measured).rows)
    assert list(groups) == ["the experiment's own", "beta=0.1"]


def test_markdown(tables):
    text = markdown(tables["table-1"])
    lines = text.splitlines()
    assert lines[0] == "**Accuracy and separation by category, explicit and implicit**"
    assert lines[2].startswith(
        "| Trained on | Evaluation | accuracy, explicit | accuracy, implicit"
    )
    assert lines[4].startswith(
        "| UltraFeedback | in-distribution | 0.800 ± 0.050 | 0.600 ± 0.000 |"
    )
    assert lines[5].startswith("|  | *paper* | 0.752 ± 0.009 | 0.646 ± 0.006 |")
    assert lines[6].startswith("|  | *difference* | +0.9 σ | −7.7 σ |")
    assert {line.count("|") for line in lines if line.startswith("|")} == {7}


def test_latex(tables):
    text = latex(tables["table-1"])
    assert r"UltraFeedback & in-distribution & 0.800 $\pm$ 0.050 & 0.600 $\pm$ 0.000 &" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{llrrrr}"):
        assert rule in text
    assert all(ord(sign) < 128 for sign in text)
    assert text.count("{") == text.count("}")
    awkward = replace(tables["table-1"], title=r"50 % & more_of #1 {x} \y")
    assert r"50 \% \& more\_of \#1 \{x\} \textbackslash{}y" in latex(awkward)


def test_csv(tables):
    rows = list(csv.DictReader(io.StringIO(comma_separated(tables["table-3"]))))
    first = rows[0]
    assert (first["Shift"], first["Evaluation"]) == ("in-distribution", "ultrafeedback")
    assert float(first["accuracy explicit"]) == pytest.approx(0.8)
    assert float(first["accuracy explicit sd"]) == pytest.approx(0.05)
    assert (first["accuracy explicit paper"], first["accuracy explicit paper sd"]) == (
        "0.752",
        "0.009",
    )
    assert float(first["accuracy explicit difference"]) == pytest.approx(0.9448, abs=1e-4)


def test_a_pipe_in_a_name_does_not_end_a_cell(tables):
    row = replace(tables["table-3"].rows[0], label="a|b")
    assert r"| a\|b |" in markdown(replace(tables["table-3"], rows=(row,)))


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs the paper's figures")
def test_our_arrangement_of_the_papers_figures_is_faithful():
    path = Path(os.environ["REWARDGAP_SHARED"]) / "paper" / "results.json"
    results = json.loads(path.read_text())
    for name, training, by_set, won in (
        ("chat", "ultrafeedback", "tables_3_and_8_by_dataset", (2, 7)),
        ("math", "rewardmath", "tables_5_and_10_by_dataset", (4, 9)),
    ):
        block = results[training]
        for level, places in (
            ("by_category", block["table_1_and_6_by_category"]),
            ("by_set", block[by_set]),
        ):
            for place, metrics in places.items():
                for theirs, kinds in metrics.items():
                    metric = "separation" if theirs == "margin" else theirs
                    for kind, (mean, deviation) in kinds.items():
                        found = printed(name, level, place, metric, kind)
                        assert (found.mean, found.deviation) == (mean, deviation)
        for number, kind in zip(won, ("explicit", "generative"), strict=True):
            for place, shares in block[f"table_{number}_win_rates_{kind}_tie_implicit"].items():
                assert list(printed_win_rates(name, kind, place)) == shares
    footnote = results["figure_4_controlled"]["footnote_3_positive_max_margin_products"]
    assert printed_separator_shares("persona") == footnote


def test_figures_that_the_paper_does_not_print_are_none():
    assert printed_separator_shares("chat") == {}
    assert printed("chat", "by_set", "ultrafeedback", "accuracy", "explicit-mean") is None
    assert printed("mine", "by_set", "ultrafeedback", "accuracy", "explicit") is None
    assert printed_win_rates("chat", "implicit", "ultrafeedback") is None
    assert printed("persona", "by_set", "paraphrased-test", "accuracy", "implicit").mean == 0.019
