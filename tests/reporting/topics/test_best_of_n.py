"""Best of n, and over-optimisation, on scores whose outcome is known."""

from grids import REWORDED, figures, findings, results_of, tables, texts, write_grid

from rewardgap.evaluation.scores import ScoreRow, read_scores, write_scores

GOLD = ((4.0, 3.0), (2.0, 1.0))
REWARDS = {"explicit": GOLD, "generative": GOLD, "implicit": ((3.0, 2.0), (0.0, 4.0))}


def test_a_kind_that_over_optimises_is_named(tmp_path):
    """Implicit models put the worst of four responses first, the others rank by gold score."""
    folder = write_grid(tmp_path, REWORDED)
    for path in folder.glob("*/*/seed-*/scores/ultrafeedback.jsonl"):
        scores = next(REWARDS[kind] for kind in REWARDS if kind in path.parts)
        rows = [ScoreRow(row.id, *scores, prompt=row.id, gold=GOLD) for row in read_scores(path)]
        write_scores(path, rows)
    results = results_of(folder)
    rows = {row[1]: row[2:] for row in tables(results)["Best of n"].rows}
    assert [cell.split()[0] for cell in rows["explicit"]] == ["2.500", "3.333", "3.750", "4.000"]
    # Of 2: the worst is best in three subsets of six; then 4 twice, and 3.
    assert [cell.split()[0] for cell in rows["implicit"]] == ["2.500", "2.333", "1.750", "1.000"]
    warned = texts(findings(results), "caution")
    assert "implicit over-optimises on ultrafeedback: the best of 1 responses is worth" in warned
    assert "by 1.500" in warned and "explicit over-optimises" not in warned
    assert {"ultrafeedback: gold score against n", "ultrafeedback: reward against KL"} <= {
        *figures(results)["Best of n"].variants
    }


def test_pairs_have_no_curve(tmp_path):
    assert "Best of n" not in tables(results_of(write_grid(tmp_path, REWORDED)))
