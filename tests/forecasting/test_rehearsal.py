"""Rehearsals are runs of the training's steps; they are paid for, kept, and done once."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import TIMINGS, configure, read_rows

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.scores import read_scores
from rewardgap.forecasting import rehearsal
from rewardgap.forecasting.forecast import ForecastResult, forecast
from rewardgap.forecasting.rehearsal import RehearsalPlan, Rehearsed, draw
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

Forecast = Callable[..., ForecastResult]


@pytest.fixture
def make(folders: Callable[..., Path], tmp_path: Path) -> Forecast:
    """Forecasts a training of 3 epochs on 12 pairs, 4 a step: 9 steps."""
    common = configure(tmp_path, folders("llama"))

    def make(**changes: Any) -> ForecastResult:
        settings: dict[str, Any] = {
            "out": str(tmp_path / "forecast"),
            "budget": 1.0,
            "batch_size": 4,
            "epochs": 3,
        }
        keys = ("model", "train", "eval", "learning_rate", "cache", "device")
        shared = {key: getattr(common, key) for key in keys}
        return forecast(ForecastConfig(**{**shared, **settings, **changes}))

    return make


def steady(row: dict[str, float]) -> dict[str, float]:
    """What a row of the log says of the step itself."""
    left_out = {*TIMINGS, "epoch", "eval_accuracy/test"}
    return {key: value for key, value in row.items() if key not in left_out}


def rehearsed(result: ForecastResult, kind: str = "explicit") -> Rehearsed:
    return result.forecasts.rehearsed[kind]


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_rehearsal_is_the_run_of_its_configuration(
    kind: str, make: Forecast, folders: Callable[..., Path], tmp_path: Path
) -> None:
    """All 9 steps, on fewer pairs; the last rewards are those of the trained model."""
    of_kind = rehearsed(make(kinds=[kind]), kind)
    seen = of_kind.rehearsals[0]
    assert seen.steps[-1] == 9
    batch = of_kind.plan.batch_size
    common = configure(tmp_path, folders("llama"), kind=kind, checkpoint_steps=0)
    out = tmp_path / "plain"
    steps = {"epochs": 9, "max_steps": 9, "batch_size": batch, "moment_batch_size": 4}
    train(replace(common, out=str(out), **steps))
    places = (out, tmp_path / "forecast" / "rehearsals" / f"{kind}-0")
    plain, ours = ([steady(row) for row in read_rows(Run(path).log)] for path in places)
    assert plain == ours
    rows = read_scores(Run(out).scores("test"))
    for (chosen, rejected), row in zip(seen.rewards["test"][-1], rows, strict=True):
        scored = [*row.scores_chosen, *row.scores_rejected]
        assert [*chosen, *rejected] == pytest.approx(scored, abs=1e-5)


def test_a_finished_rehearsal_is_read_and_a_killed_one_done_again(
    make: Forecast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    kept = tmp_path / "forecast" / "rehearsals" / "implicit-0" / "rehearsal.json"
    text = kept.read_text()
    kept.unlink()
    assert rehearsed(make(), "implicit").last_loss == rehearsed(first, "implicit").last_loss
    assert kept.read_text() == text
    monkeypatch.setattr(rehearsal, "fit", None)
    again = make()
    assert again.table == first.table
    kept.write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"implicit-0 holds no rehearsal: .*remove it"):
        make()


def test_a_folder_of_another_training_is_refused(make: Forecast) -> None:
    make()
    with pytest.raises(UserError, match="a forecast with another learning_rate"):
        make(learning_rate=1e-2)


def test_what_a_rehearsal_costs(make: Forecast, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 9 steps of 1 pair, 6 records at the end and 3 twice, against 9 steps of 4 pairs."""
    monkeypatch.setattr(rehearsal, "LADDER", (RehearsalPlan(1, 1, 6, 3),))
    of_kind = rehearsed(make(kinds=["explicit"]))
    costs = []
    original = rehearsal.Costs.share

    def share(self: rehearsal.Costs, plan: RehearsalPlan) -> float:
        trees = [*self.data.training]
        mean = np.mean([tree.size for tree in trees])
        sizes = [tree.size for tree in self.data.evaluation["test"]]
        evaluated = sum(sizes) + 2 * sum(draw(sizes, 3))
        costs.append((3 * 9 * mean + evaluated) / (3 * 36 * mean))
        return original(self, plan)

    monkeypatch.setattr(rehearsal.Costs, "share", share)
    make(kinds=["explicit"])
    assert of_kind.share == pytest.approx(costs[0])


def test_a_budget_that_is_too_small_names_one_that_is_enough(make: Forecast) -> None:
    with pytest.raises(UserError, match=r"--budget 0.01 is too small") as caught:
        make(budget=0.01, kinds=["explicit"])
    enough = float(str(caught.value).partition("takes ")[2].split()[0]) * 1.01
    assert rehearsed(make(budget=enough, kinds=["explicit"])).plan.batch_size == 1


def test_theory_alone_rehearses_nothing(make: Forecast, tmp_path: Path) -> None:
    assert make(budget=0).forecasts.predictions == {}
    assert not (tmp_path / "forecast" / "rehearsals").exists()
    figures = json.loads((tmp_path / "forecast" / "forecast.json").read_text())["test"]["explicit"]
    assert figures["rehearsal"] is None
    assert figures["n"] == 6
    assert figures["accuracy"] == figures["theory"]


def test_the_accuracy_is_that_of_the_rewards_that_were_seen(
    make: Forecast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LADDER", (RehearsalPlan(1, 1, 6, 3),))
    result = make()
    for kind, found in result.forecasts.predictions["test"].items():
        (seen,) = rehearsed(result, kind).rehearsals
        assert found.accuracy.value == record_accuracies(seen.rewards["test"][-1]).mean()
        figures = json.loads((tmp_path / "forecast" / "forecast.json").read_text())["test"][kind]
        assert figures["accuracy"]["value"] == found.accuracy.value
        assert figures["rehearsal"]["curve"][-1]["accuracy"] == found.accuracy.value


def test_half_of_the_records_are_followed_along_training(
    make: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LADDER", (RehearsalPlan(1, 1, 6, 3),))
    result = make(kinds=["explicit"], loss=10)
    (seen,) = rehearsed(result).rehearsals
    assert seen.steps.tolist() == [4, 8, 9]
    assert [len(rewards) for rewards in seen.rewards["test"]] == [3, 3, 6]
    assert result.forecasts.predictions["test"]["explicit"].followed == 3


def test_little_may_always_be_spent(
    make: Forecast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36 pairs are learnt in all: of 5,000 any plan may be paid for, of 73 a third of training."""
    plans = (RehearsalPlan(1, 1, 2, 2), RehearsalPlan(1, 1, 3, 2), RehearsalPlan(1, 2, 6, 2))
    monkeypatch.setattr(rehearsal, "LADDER", plans)
    for learnt, plan in ((5000, plans[2]), (36 * 2.04, plans[1]), (0, plans[0])):
        monkeypatch.setattr(rehearsal, "LEARNT", learnt)
        result = make(kinds=["explicit"], budget=None, out=str(tmp_path / str(learnt)))
        assert rehearsed(result).plan == plan
    monkeypatch.setattr(rehearsal, "LEARNT", 5000)
    monkeypatch.setattr(rehearsal, "MOST", 0.5)
    result = make(kinds=["explicit"], budget=None, out=str(tmp_path / "half"))
    assert rehearsed(result).plan == plans[1]


def test_records_that_are_followed_are_drawn_once() -> None:
    assert draw(range(6), 10) == draw(range(6), None) == list(range(6))
    drawn = draw(range(100), 10)
    assert len(set(drawn)) == 10
    assert drawn == sorted(drawn)
    assert set(drawn) <= set(draw(range(100), 20))


def test_without_evaluation_sets_there_is_nothing_to_forecast(make: Forecast) -> None:
    with pytest.raises(UserError, match="name at least one evaluation set"):
        make(eval={})


def test_theory_reads_the_records_that_rehearsals_follow(
    make: Forecast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LADDER", (RehearsalPlan(1, 1, 4, 3),))
    make()
    figures = json.loads((tmp_path / "forecast" / "forecast.json").read_text())["test"]
    assert {kind: of_kind["n"] for kind, of_kind in figures.items()} == {
        "explicit": 4,
        "implicit": 4,
    }
