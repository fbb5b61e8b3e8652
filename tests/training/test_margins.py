"""Training with a margin for every record and with smoothed labels."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import configure, pair_rows, read_rows, result, train_toy, write_rows

from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

MARGINS = [0.0, 0.5, 1.0, 2.0]


@pytest.fixture
def model(folders: Callable[..., Path]) -> Path:
    return folders("llama")


def rows(count: int = 4) -> list[dict[str, Any]]:
    return [row | {"margin": MARGINS[i % 4]} for i, row in enumerate(pair_rows(count))]


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_the_first_loss_is_that_of_the_rewards_and_margins(kind, model, tmp_path):
    """Rewards and loss of the first step, of all four pairs, are in the log."""
    data = write_rows(tmp_path / "data.jsonl", rows())
    common = {"kind": kind, "train": data, "eval": {"train": data}, "beta": 0.1}
    for out, settings in {
        "plain": {},
        "margins": {"margin_column": "margin"},
        "both": {"margin_column": "margin", "label_smoothing": 0.2},
    }.items():
        run = train_toy(tmp_path, model, out=str(tmp_path / out), max_steps=1, **common, **settings)
        (step,) = read_rows(run.log)
        assert step["margin"] == pytest.approx(step["reward_chosen"] - step["reward_rejected"])
        if kind == "implicit":  # all rewards are 0 before the first step
            ln_sigma = [-math.log1p(math.exp(m * ("margin_column" in settings))) for m in MARGINS]
            e = settings.get("label_smoothing", 0.0)
            shifts = [m if "margin_column" in settings else 0.0 for m in MARGINS]
            losses = [
                -(1 - e) * ln - e * (ln + shift) for ln, shift in zip(ln_sigma, shifts, strict=True)
            ]  # ln σ(m) = ln σ(−m) + m
            assert step["loss"] == pytest.approx(sum(losses) / 4, abs=1e-6)
        saved = json.loads((run.reward_model / "rewardgap.json").read_text())
        assert saved["margin_column"] == settings.get("margin_column")
        assert saved["label_smoothing"] == settings.get("label_smoothing")


def test_margins_of_zero_change_no_bit(model, tmp_path):
    plain = [row | {"margin": 0} for row in rows(12)]
    data = write_rows(tmp_path / "zero.jsonl", plain)
    results = [
        result(train_toy(tmp_path, model, out=str(tmp_path / out), train=data, **settings))
        for out, settings in {"plain": {}, "zero": {"margin_column": "margin"}}.items()
    ]
    assert results[0] == results[1]


def test_a_resumed_run_has_the_same_bits(model, tmp_path, monkeypatch):
    data = write_rows(tmp_path / "margins.jsonl", rows(12))
    settings = {"train": data, "margin_column": "margin", "label_smoothing": 0.1}
    whole = result(train_toy(tmp_path, model, out=str(tmp_path / "whole"), **settings))
    config = configure(tmp_path, model, **settings, checkpoint_steps=2, resume=True)
    step, steps = torch.optim.Adam.step, iter(range(100))

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return step(*arguments, **keywords)

    monkeypatch.setattr(torch.optim.Adam, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    train(config)
    continued = result(Run(Path(config.out)))
    assert continued == whole


def test_mistakes(model, tmp_path, capsys):
    data = write_rows(tmp_path / "data.jsonl", [rows(1)[0] | {"margin": "much"}])
    wrong: dict[str, dict[str, Any]] = {
        "margin_column is of the Bradley–Terry loss": {
            "kind": "generative",
            "margin_column": "margin",
        },
        "label_smoothing is of the Bradley–Terry loss": {
            "kind": "generative",
            "label_smoothing": 0.1,
        },
        "record pair-0: margin_column names 'margin', where 'much' is no": {
            "train": data,
            "margin_column": "margin",
        },
        "record pair-0: margin_column names 'gap', where None is no": {
            "train": data,
            "margin_column": "gap",
        },
        "label_smoothing must be at least 0 and below 0.5": {"label_smoothing": 0.5},
    }
    for message, settings in wrong.items():
        with pytest.raises(UserError, match=message):
            train_toy(tmp_path, model, **settings)
    words = ["--model", str(model), "--train", data, "--eval.x", data, "--out", str(tmp_path / "f")]
    assert main(["forecast", *words, "--label-smoothing", "0.1"]) == 2
    assert "label_smoothing cannot be forecast" in capsys.readouterr().err


def test_margins_are_another_data_set_for_the_cache(model, tmp_path):
    """Trees with margins are not those without, in one cache folder."""
    data = write_rows(tmp_path / "data.jsonl", rows())
    losses = []
    for out, settings in {"a": {"margin_column": "margin"}, "b": {}}.items():
        config = configure(
            tmp_path, model, train=data, out=str(tmp_path / out), eval={}, **settings
        )
        train(config)
        losses.append(read_rows(tmp_path / out / "log.jsonl")[0]["loss"])
    assert losses[0] > losses[1] + 0.1
