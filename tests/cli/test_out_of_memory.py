"""A GPU that has too little memory for a command."""

from importlib import import_module

import pytest
import torch
from command_line import flags


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("train", "lower --token-budget, or set --gradient-checkpointing, or lower --max-length"),
        ("pretrain", "lower --batch-tokens"),
    ],
)
def test_a_gpu_without_memory_is_one_line(command, remedy, desk, refused, monkeypatch):
    tried = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 9 GiB."

    def exhaust(config: object) -> None:
        raise torch.OutOfMemoryError(f"{tried} Including non-PyTorch memory, more")

    monkeypatch.setattr(import_module(f"rewardgap.training.{command}"), command, exhaust)
    words = {"train": flags("train"), "pretrain": ["pretrain", "--text", "a", "--out", "b"]}
    message = refused(words[command])
    assert message == f"rewardgap: the GPU has too little memory: {remedy} ({tried})\n"
