"""Ensembles of score files, with numbers by hand."""

from pathlib import Path

import pytest

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.ensembles import EnsembleName, combine_rows, parse_ensemble
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.evaluation.table import metrics

FIRST = [ScoreRow("a", (1.0,), (0.0, 4.0)), ScoreRow("b", (0.0,), (1.0,))]
SECOND = [ScoreRow("b", (4.0,), (1.0,)), ScoreRow("a", (3.0,), (2.0, 0.0))]


def test_names():
    assert parse_ensemble("mean-std( runs/a , runs/b,c)") == EnsembleName(
        "mean-std", ("runs/a", "runs/b", "c")
    )
    assert parse_ensemble("runs/a") is None


def test_a_folder_may_be_called_like_an_ensemble(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mean(a,b)").mkdir()
    assert parse_ensemble("mean(a,b)") is None


@pytest.mark.parametrize(
    ("rule", "rewards"),
    [
        ("mean", [((2.0,), (1.0, 2.0)), ((2.0,), (1.0,))]),
        ("worst", [((1.0,), (0.0, 0.0)), ((0.0,), (1.0,))]),
        ("mean-std", [((1.0,), (0.0, 0.0)), ((0.0,), (1.0,))]),  # two members: mean − |a − b| / 2
    ],
)
def test_rewards_by_hand(rule, rewards):
    rows = combine_rows(EnsembleName(rule, ("x", "y")), [FIRST, SECOND])
    assert [row.id for row in rows] == ["a", "b"]
    assert [row.scores for row in rows] == rewards


def test_metrics_of_an_ensemble_of_files(tmp_path: Path):
    paths = [tmp_path / name for name in ("x.jsonl", "y.jsonl")]
    for path, rows in zip(paths, (FIRST, SECOND), strict=True):
        write_scores(path, rows)
    name = f"mean({paths[0]},{paths[1]})"
    report, _ = metrics(MetricsConfig(scores=[name, str(paths[0])]))
    assert report[name]["accuracy"]["value"] == 0.875  # (1 + ½)/2 and 1
    assert report[str(paths[0])]["accuracy"]["value"] == 0.25


def test_metrics_of_an_ensemble_of_runs(tmp_path: Path):
    for run, rows in (("a", FIRST), ("b", SECOND)):
        write_scores(tmp_path / run / "scores" / "test.jsonl", rows)
    write_scores(tmp_path / "a" / "scores" / "other.jsonl", FIRST)
    name = f"worst({tmp_path / 'a'},{tmp_path / 'b'})"
    report, _ = metrics(MetricsConfig(scores=[name]))
    assert list(report) == [f"{name}/test.jsonl"]


def test_files_of_other_data_are_refused(tmp_path: Path):
    ensemble = EnsembleName("mean", ("x", "y"))
    for other in (
        [FIRST[0]],
        [*FIRST, ScoreRow("c", (0.0,), (1.0,))],
        [FIRST[0], ScoreRow("b", (0.0,), (1.0, 2.0))],
    ):
        with pytest.raises(UserError, match="y does not rate the records of x"):
            combine_rows(ensemble, [FIRST, other])
