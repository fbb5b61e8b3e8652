"""Several processes on one machine give the weights that one gives."""

import subprocess
import sys

import pytest
from safetensors.torch import load_file
from toy import configure, flags, read_rows, several_rows, train_toy, write_rows

from rewardgap.io.run_folder import Run


@pytest.mark.slow
def test_two_processes_train_as_one(folders, tmp_path):
    changes = {
        "train": write_rows(tmp_path / "several.jsonl", several_rows(7)),
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-4,
        "max_grad_norm": 0.5,
        "eval_steps": 3,
    }
    one = train_toy(tmp_path, folders("llama"), kind="implicit", **changes)
    out = str(tmp_path / "two")
    config = configure(tmp_path, folders("llama"), kind="implicit", out=out, **changes)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"),
            *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
            *("-m", "rewardgap.cli"),
            *flags(config),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    two = Run(tmp_path / "two")
    weights = [load_file(run.reward_model / "model.safetensors") for run in (one, two)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() <= 1e-5, name
    logs = [read_rows(run.log) for run in (one, two)]
    assert [row["step"] for row in logs[1]] == [row["step"] for row in logs[0]]
    for key in ("loss", "accuracy", "margin", "learning_rate", "eval_accuracy/test"):
        values = [[row[key] for row in log if key in row] for log in logs]
        assert values[0] == pytest.approx(values[1], abs=1e-5), key
    assert two.metrics.exists()
