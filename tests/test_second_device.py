"""Commands on a device that is not the CPU, which this machine need not have (second_device)."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import second_device
from torch.utils import backend_registration
from toy import configure, pair_rows, read_rows, several_rows, write_rows

from rewardgap.configs.forecasting import ExplainConfig, ForecastConfig
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.explaining.explain import explain
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.run_folder import Run
from rewardgap.scoring.score import score
from rewardgap.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
        reason="this torch cannot be given a device in Python",
    ),
]

KINDS = ("explicit-mean", "implicit", "generative")
SIDES = ("scores_chosen", "scores_rejected")


def elsewhere(*calls: tuple[Any, Any]) -> None:
    """Run commands, by their configurations, on the second device in a process of its own."""
    words = []
    for config, function in calls:
        values = {key: value for key, value in asdict(config).items() if key != "device"}
        words.append(
            json.dumps(
                [
                    function.__module__,
                    function.__name__,
                    type(config).__module__,
                    type(config).__name__,
                    values,
                ]
            )
        )
    command = [sys.executable, second_device.__file__, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def rewards(path: Path) -> list[float]:
    return [np.mean(row[side]) for row in read_rows(path) for side in SIDES]


def test_training_scores_and_an_explanation(folders, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(2))
    settings = {"train": data, "kind": "implicit", "max_steps": 2, "eval_steps": 1}
    expected = configure(tmp_path, folders("llama"), **settings)
    ours = replace(expected, out=str(tmp_path / "elsewhere"), cache=str(tmp_path / "other"))
    train(expected)
    page = ExplainConfig(
        model=expected.out, data=data, row=1, out=str(tmp_path / "a.html"), device="cpu"
    )
    explain(page)
    again = replace(page, out=str(tmp_path / "b.html"))
    scored = ScoreConfig(model=expected.out, data=expected.eval["test"], out=str(tmp_path / "s"))
    elsewhere((ours, train), (again, explain), (scored, score))
    logs = [[row["loss"] for row in read_rows(Run(Path(c.out)).log)] for c in (ours, expected)]
    assert logs[0][0] == pytest.approx(logs[1][0], rel=1e-5)
    assert logs[0][1] != logs[0][0], "nothing was trained"
    assert rewards(tmp_path / "s") == pytest.approx(
        rewards(Run(Path(expected.out)).scores("test")), rel=1e-5, abs=1e-6
    )
    explained = [Path(c.out).with_suffix(".json").read_text() for c in (again, page)]
    pulls = [json.loads(text)["influence"]["responses"][0]["contributions"] for text in explained]
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-3)


def test_a_forecast_by_theory(folders, tmp_path):
    data = write_rows(tmp_path / "pairs.jsonl", pair_rows(5))
    common = {"model": str(folders("gemma2")), "train": data, "eval": {"same": data}}
    expected = ForecastConfig(
        **common,
        kinds=list(KINDS),
        budget=0,
        device="cpu",
        out=str(tmp_path / "out"),
        cache=str(tmp_path / "cache"),
    )
    ours = replace(expected, out=str(tmp_path / "elsewhere"), cache=str(tmp_path / "other"))
    forecast(expected)
    elsewhere((ours, forecast))
    for kind in KINDS:
        scores = [Path(c.out) / "scores" / kind / "same.jsonl" for c in (ours, expected)]
        assert rewards(scores[0]) == pytest.approx(rewards(scores[1]), rel=1e-3), kind
