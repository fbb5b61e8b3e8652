"""Two processes, each with a GPU and weights in parts, against one process on a CPU."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import ends, start_two
from toy import configure, eight_steps, read_rows

from rewardgap.configs.training import TrainConfig
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

pytestmark = pytest.mark.gpu

ROUNDING = 1e-4
"""Of losses, relatively."""


def train_all(*configs: TrainConfig) -> int:
    """Train in one of several processes."""
    for config in configs:
        train(config)
    torch.distributed.destroy_process_group()
    return 0


def losses(run: Run) -> list[float]:
    return [row["loss"] for row in read_rows(run.log)]


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_losses_of_every_step(kind, device, folders, trained, forks, tmp_path, tell):
    if device.type != "cuda" or torch.cuda.device_count() < 2:
        pytest.skip("each of two processes needs a GPU of its own")
    clipped = {"max_grad_norm": 0.5}
    settings = eight_steps(tmp_path) | {"kind": kind, "shard": True} | clipped
    divided = configure(tmp_path, folders("llama"), device=device.type, **settings)
    away = replace(divided, out=str(tmp_path / "away"), offload=True)
    codes = ends(start_two(forks, tmp_path / "printed", train_all, divided, away))
    assert codes == [0, 0]
    expected = losses(trained("cpu", kind, **clipped))
    for name, config in (("divided", divided), ("offloaded", away)):
        pairs = zip(losses(Run(Path(config.out))), expected, strict=True)
        error = max(abs(loss / right - 1) for loss, right in pairs)
        tell(f"{name}: losses {error:.1e}")
        assert error <= ROUNDING
