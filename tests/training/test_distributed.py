"""Several processes on one machine give the weights that one gives."""

import socket

import pytest
import torch
from processes import start
from safetensors.torch import load_file
from toy import configure, read_rows, several_rows, train_toy, write_rows

from rewardgap.configs.training import TrainConfig
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train


def places(rank: int) -> dict[str, str]:
    """The variables by which torchrun and accelerate tell a process its place on one machine."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}


def train_beside(config: TrainConfig) -> int:
    """Train in one of several processes, and then say how many have taken part."""
    train(config)
    print("processes:", torch.distributed.get_world_size(), torch.distributed.get_backend())
    torch.distributed.destroy_process_group()
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_two_processes_train_as_one(device, folders, forks, tmp_path):
    """Their budget is so small that they have different numbers of micro-batches."""
    if device == "auto" and torch.cuda.is_available():
        pytest.skip("auto is a GPU, of which each process needs one")
    changes = {
        "device": device,
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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        start(forks, tmp_path / f"rank-{rank}", train_beside, config, **address, **places(rank))
        for rank in range(2)
    ]
    for process in started:
        assert process.end() == 0, process.stderr
    assert [process.stdout.count("processes: 2 gloo") for process in started] == [1, 1]
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
