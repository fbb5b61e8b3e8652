"""Several processes on one machine give the weights that one gives."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from safetensors.torch import load_file
from toy import configure, read_rows, several_rows, train_toy, write_rows

from rewardgap.io.run_folder import Run

# What every process runs: it trains, and then says how many processes have taken part.
SCRIPT = """
import json, sys
import torch
from rewardgap.configs.training import TrainConfig
from rewardgap.training.train import train
torch.set_num_threads(1)
train(TrainConfig(**json.loads(sys.argv[1])))
print("processes:", torch.distributed.get_world_size(), torch.distributed.get_backend())
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one(folders, tmp_path):
    """Their budget is so small that they have different numbers of micro-batches."""
    changes = {
        "train": write_rows(tmp_path / "several.jsonl", several_rows(7)),
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-4,
        "max_grad_norm": 0.5,
        "eval_steps": 3,
        "token_budget": 110,
    }
    one = train_toy(tmp_path, folders("llama"), kind="implicit", **changes)
    out = str(tmp_path / "two")
    config = configure(tmp_path, folders("llama"), kind="implicit", out=out, **changes)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", "--no_python", sys.executable, "-c"),
            *(SCRIPT, json.dumps(asdict(config))),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("processes: 2 gloo") == 2
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
