"""Accuracy on grids of styles."""

from grids import REWORDED, results_of, tables, write_grid

from rewardgap.evaluation.scores import ScoreRow, read_scores, write_scores


def test_grids_of_styles_have_a_table_of_their_own(tmp_path):
    """A chosen reward of 1 in both styles beats a plain rejected 0, and not an elaborate 2."""
    folder = write_grid(tmp_path, REWORDED)
    for path in folder.glob("*/*/seed-*/scores/ultrafeedback.jsonl"):
        rows = read_scores(path)
        write_scores(path, (ScoreRow(row.id, (1.0, 1.0), (0.0, 2.0)) for row in rows))
    results = results_of(folder)
    table = tables(results)["Where style helps and where it misleads"]
    assert {row[0] for row in table.rows} == {"ultrafeedback"}
    for row in table.rows:
        assert [cell.split()[0] for cell in row[2:]] == ["1.000", "0.500", "0.000"]
