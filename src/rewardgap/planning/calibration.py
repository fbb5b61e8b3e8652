"""How fast this machine trains a kind: one micro-batch and one step of Adam, timed."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from rewardgap.configs.training import TrainConfig
from rewardgap.data.tree_counts import TreeCounts
from rewardgap.data.tree_store import StoredTrees
from rewardgap.models.devices import autocast
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import micro_batches, pack
from rewardgap.models.shape import ModelShape
from rewardgap.training.adam import make_adam
from rewardgap.training.memory import Setup
from rewardgap.training.operations import backward, forward

RECORDS = 16
"""Records that a micro-batch is made of, evenly spaced."""


@dataclass(frozen=True)
class Speed:
    """Floating-point operations per second of passes, and seconds that Adam takes per step."""

    operations: float
    seconds_per_step: float = 0.0


def measure_speed(
    model: TrainedRewardModel, config: TrainConfig, trees: StoredTrees, setup: Setup
) -> Speed:
    """Return the speed at which a model with weights is trained, by the second of two steps."""
    count = min(len(trees), RECORDS)
    sample = [trees[i * len(trees) // count] for i in range(count)]
    group = micro_batches(sample, config.token_budget, setup.device)[0]
    members = [sample[i] for i in group]
    model.check_readable(members)
    none = [np.zeros(sum(len(t.nodes[leaf]) for leaf in t.leaves), np.float32) for t in members]
    batch = pack(members, none if model.needs_reference else None).to(setup.device)
    model.to(setup.device).train()
    adam = make_adam([p for p in model.parameters() if p.requires_grad], config)
    for _ in range(2):
        began = _now(setup.device)
        with autocast(setup.device, torch.float32, setup.compute_dtype):
            losses = model(batch).losses
        torch.autograd.backward(losses.mean())
        passed = _now(setup.device)
        adam.step()
        adam.zero_grad(set_to_none=True)
        stepped = _now(setup.device)
    shape, counts = ModelShape.of(model, members[0]), TreeCounts.of(members)
    operations = forward(shape, counts).total + backward(shape, counts, setup.lora_rank).total
    return Speed(operations / (passed - began), stepped - passed)


def _now(device: torch.device) -> float:
    """Return the time, when all that a GPU was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
