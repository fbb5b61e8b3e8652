"""Where a run computes, and what it leaves there, as far as a machine without a GPU can tell."""

import weakref
from importlib import import_module

import torch
from accelerate.state import AcceleratorState, PartialState
from toy import read_rows, train_toy

from rewardgap.training import loop

WHERE = {"cuda": "meta", "cpu": "cpu"}
"""A device that is there in place of one that is not."""

training = import_module("rewardgap.training.train")  # the package's attribute may be the function


def test_an_earlier_run_of_the_process_does_not_decide_on_the_device(model, tmp_path, monkeypatch):
    first = train_toy(tmp_path, model, out=str(tmp_path / "first"))
    for state in (PartialState(), AcceleratorState()):
        monkeypatch.setattr(state, "device", torch.device("meta"))  # where nothing is computed
    second = train_toy(tmp_path, model, out=str(tmp_path / "second"))
    assert PartialState().device.type == AcceleratorState().device.type == "cpu"
    losses = [[row["loss"] for row in read_rows(run.log)] for run in (first, second)]
    assert losses[0] == losses[1]


def test_what_was_trained_is_gone_before_the_saved_model_is_loaded(model, tmp_path, monkeypatch):
    made: list[weakref.ref[object]] = []
    left: list[object] = []

    def noting(function):
        def call(*arguments):
            result = function(*arguments)
            made.append(weakref.ref(result))
            return result

        return call

    evaluate = training.evaluate
    monkeypatch.setattr(loop, "make_adam", noting(loop.make_adam))
    monkeypatch.setattr(training, "build", noting(training.build))
    monkeypatch.setattr(
        training, "evaluate", lambda *a: (left.extend(ref() for ref in made), evaluate(*a))
    )
    train_toy(tmp_path, model, kind="implicit")
    assert left == [None, None], "the model or Adam's moments are still in memory"
