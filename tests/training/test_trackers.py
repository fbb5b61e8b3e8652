"""Experiment trackers get every step of the log once, also of a run that was interrupted."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import accelerate.tracking
import pytest
from accelerate.utils import LoggerType
from toy import configure, read_rows, train_toy

from rewardgap.configs.training import Tracker
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.training import loop
from rewardgap.training.trackers import NAMES, TRACKERS, as_tracked
from rewardgap.training.train import train


def interrupted(folder: Path, model: Path, **changes: Any) -> Run:
    """A run of nine steps that is interrupted in its sixth and goes on from its fourth."""
    settings = {"checkpoint_steps": 2, "eval_steps": 3, **changes}
    take_step, taken = loop.take_step, []

    def take_five(*arguments):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(take_step(*arguments))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", take_five)
        with pytest.raises(KeyboardInterrupt):
            train_toy(folder, model, **settings)
    return train_toy(folder, model, resume=True, **settings)


def tracked_rows(run: Run) -> list[dict[str, float]]:
    return [as_tracked(row) for row in read_rows(run.log)]


def test_figures_have_the_names_of_trl():
    row = {"step": 1, "loss": 0.5, "accuracy": 1.0, "log_prob_chosen": -2.0, "grad_norm": 3.0}
    assert as_tracked({**row, "eval_accuracy/my set:1": 0.25}) == {
        "step": 1,
        "loss": 0.5,
        "rewards/accuracies": 1.0,
        "logps/chosen": -2.0,
        "grad_norm": 3.0,
        "eval_my set_1_rewards/accuracies": 0.25,
    }
    assert set(TRACKERS) == set(get_args(Tracker))


def test_tensorboard_has_every_step_once(folders, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = interrupted(tmp_path, folders("llama"), report_to=["tensorboard"])
    log = events.EventAccumulator(str(run.folder / "rewardgap")).Reload()
    rows = tracked_rows(run)
    for name in ("loss", "grad_norm", *NAMES.values()):
        if name.startswith("logps"):
            continue
        scalars = log.Scalars(name)
        assert [event.step for event in scalars] == list(range(1, 10))
        assert [event.value for event in scalars] == pytest.approx([row[name] for row in rows])
    scalars = log.Scalars("eval_test_rewards/accuracies")
    assert [event.step for event in scalars] == [3, 6, 9]


class Recorder:
    """Stands for the module of a tracker: it keeps how a series is opened and what it is given."""

    def __init__(self) -> None:
        self.opened: list[dict[str, Any]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.config = SimpleNamespace(update=lambda values, **_: None)
        self.utils = SimpleNamespace(
            validation=SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
        )
        self.info = SimpleNamespace(run_id="of-mlflow")

    def init(self, **keywords: Any) -> "Recorder":
        self.opened.append(keywords)
        return self

    start_run = init

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append((step, row))

    log_metrics = log

    def search_experiments(self, filter_string: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(experiment_id="0")]

    def log_params(self, values: dict[str, str]) -> None:
        assert values["kind"] == "explicit"

    def finish(self) -> None:
        self.opened[-1]["finished"] = True

    end_run = finish


@pytest.mark.parametrize(
    ("name", "continued"),
    [("wandb", "id"), ("trackio", "name"), ("mlflow", "run_id")],
)
def test_a_resumed_run_continues_its_series(name, continued, folders, tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, name, recorder)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [LoggerType(name)])
    run = interrupted(tmp_path, folders("llama"), report_to=[name])
    ids = json.loads(run.trackers.read_text())
    first, second = recorder.opened
    assert first["finished"] and second["finished"]
    if name == "mlflow":
        assert first["run_id"] is None and second["run_id"] == ids["mlflow"] == "of-mlflow"
    else:
        assert first[continued] == second[continued] and second["resume"] == "allow"
        assert ids["id"][:8] in first[continued]
    assert [step for step, _ in recorder.rows] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    rows = tracked_rows(run)
    for step, row in recorder.rows:
        assert row["rewards/margins"] == rows[step - 1]["rewards/margins"]


def test_two_runs_are_two_series(folders, tmp_path, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [LoggerType("wandb")])
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        train_toy(tmp_path / name, folders("llama"), report_to=["wandb"], epochs=1, eval={})
    assert recorder.opened[0]["id"] != recorder.opened[1]["id"]


def test_a_tracker_that_cannot_be_opened_is_one_line(folders, tmp_path, monkeypatch):
    recorder = SimpleNamespace(init=lambda **_: 1 / 0)
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [LoggerType("wandb")])
    with pytest.raises(UserError, match="cannot report to wandb: division by zero"):
        train(configure(tmp_path, folders("llama"), report_to=["wandb"]))


def test_wandb_keeps_steps_of_one_run_in_its_offline_folder(folders, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = interrupted(tmp_path, folders("llama"), report_to=["wandb"])
    ids = json.loads(run.trackers.read_text())
    folders_of_wandb = [*(run.folder / "wandb").glob("offline-run-*")]
    assert folders_of_wandb and all(path.name.endswith(ids["id"]) for path in folders_of_wandb)


def test_mlflow_has_every_step_in_one_run_of_its_file_store(folders, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/store")
    run = interrupted(tmp_path, folders("llama"), report_to=["mlflow"])
    client = mlflow.MlflowClient()
    history = client.get_metric_history(json.loads(run.trackers.read_text())["mlflow"], "loss")
    losses = [row["loss"] for row in read_rows(run.log)]
    assert {point.step: point.value for point in history} == dict(enumerate(losses, start=1))
