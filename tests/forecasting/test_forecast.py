"""A whole forecast, and how much of the kernels it keeps."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.data.load import load as load_records
from rewardgap.data.records import responses_id
from rewardgap.errors import UserError
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import read_scores
from rewardgap.forecasting import features
from rewardgap.forecasting.forecast import ForecastResult, forecast

Run = Callable[..., tuple[ForecastResult, dict[str, dict]]]


@pytest.fixture
def run(folders: Callable[..., Path], tmp_path: Path) -> Run:
    """Forecasts on a few pairs; returns what is said and forecast.json."""
    rows = [
        {"prompt": f"What is {i}?", "chosen": "It is four. " * (i + 1), "rejected": f"No, {i}."}
        for i in range(6)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"

    def make(**settings: object) -> tuple[ForecastResult, dict[str, dict]]:
        common = {"model": str(folders("llama")), "train": str(data), "eval": {"same": str(data)}}
        paths = {"out": str(out), "cache": str(tmp_path / "cache"), "device": "cpu"}
        theory = {"budget": 0}
        found = forecast(ForecastConfig(**common, **paths, **{**theory, **settings}))
        return found, json.loads((out / "forecast.json").read_text())["same"]

    return make


def said(folder: Path) -> str:
    return (folder / "out" / "forecast.txt").read_text()


def test_limits_are_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(features, "MOST_POSITIONS", None)
        _, whole = run()
    assert "gradients are kept whole for explicit and implicit." in said(tmp_path)
    assert whole["implicit"]["sketch"] == {"kept": 10240, "entries": 10240, "error": 0.0}
    monkeypatch.setattr(features, "LARGEST_PROJECTION", 509)
    monkeypatch.setattr(features, "MOST_POSITIONS", 4)
    _, limited = run()
    error = (2 / 509 - 2 / 10240) ** 0.5
    assert limited["implicit"]["sketch"] == pytest.approx(
        {"kept": 509, "entries": 10240, "error": error}
    )
    assert limited["explicit"] == whole["explicit"]
    assert "kept whole for explicit; projected to 509 of 10,240 numbers for implicit" in said(
        tmp_path
    )
    assert f"products err by {error:.2g} of the product of the norms" in said(tmp_path)
    assert limited["implicit"]["margin"] != whole["implicit"]["margin"]


def test_memory_that_is_too_small_is_named(run: Run) -> None:
    with pytest.raises(UserError, match="raise --memory to"):
        run(memory=1e-5)
    assert run(memory=1e-5, kinds=["explicit"])[1]["explicit"]["sketch"]["error"] == 0


def test_score_files_are_those_of_a_run(run: Run, tmp_path: Path) -> None:
    words, figures = run()
    records = load_records(str(tmp_path / "pairs.jsonl"))
    for kind, numbers in figures.items():
        rows = read_scores(tmp_path / "out" / "scores" / kind / "same.jsonl")
        assert rows == list(words.forecasts.theory["same"][kind].rows)
        assert [row.responses for row in rows] == [responses_id(record) for record in records]
        summary = summarise(rows).to_json()
        assert summary["accuracy"]["value"] == numbers["accuracy"]["value"]
        assert {key: numbers[key] for key in summary if key != "accuracy"} == {
            key: value for key, value in summary.items() if key != "accuracy"
        }


def test_kinds_that_training_does_not_change_are_refused(run: Run) -> None:
    with pytest.raises(UserError, match=r"kind 'length' has no forecast.*explicit.*generative"):
        run(kinds=["explicit", "length"])
