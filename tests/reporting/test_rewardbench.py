"""Files of the leaderboard of RewardBench 2."""

import json
from pathlib import Path
from types import SimpleNamespace

from rewardgap.evaluation.scores import ScoreRow
from rewardgap.io.grid_folder import Cell
from rewardgap.io.run_folder import Run
from rewardgap.reporting.rewardbench import write_results


def test_scores_of_a_leaderboard_are_in_a_file_of_the_set(tmp_path: Path):
    rows = [
        ScoreRow("a", (2.0,), (1.0, 0.0, 0.0), subset="Math"),
        ScoreRow("ref:1", (1.0,), (2.0,), subset="Ties"),
        ScoreRow("tied:1", (0.0, 1.0), (2.0,), subset="Ties"),
    ]
    cell = Cell("models/m", "explicit", 0, "", Run(tmp_path))
    results = SimpleNamespace(
        measured=[cell],
        rows={"rb2": {cell: rows}, "other": {cell: [ScoreRow("a", (1.0,), (0.0,))]}},
        experiment=SimpleNamespace(name="x"),
    )
    write_results(results, tmp_path)
    (path,) = tmp_path.glob("*-rb2.json")
    scores = json.loads(path.read_text())
    assert scores["model_type"] == "explicit"
    assert scores["Math"] == 1
    assert -0.01 <= scores["Ties"] <= -0.009  # all is wrong: 0.01 tanh(−2 / 1 − 1)
    assert len(list(tmp_path.glob("*.json"))) == 3
