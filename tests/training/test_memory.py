"""The memory of a training, against what PyTorch keeps for the backward pass."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from toy import configure, several_rows, write_rows

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData
from rewardgap.data.tree_counts import TreeCounts
from rewardgap.models.devices import autocast
from rewardgap.models.kinds import find_kind
from rewardgap.models.packing import pack
from rewardgap.models.shape import ModelShape
from rewardgap.training.memory import Setup, estimate_memory, kept_activations
from rewardgap.training.train import restrict

CPU = Setup(torch.device("cpu"), torch.float32)
FULL = Setup(torch.device("cuda"), torch.float32)
GPU = Setup(torch.device("cuda"), torch.bfloat16)


@pytest.fixture
def planned(folders, tmp_path):
    """A model of a kind, the configuration of its training, and its trees."""

    def make(kind: str, architecture: str = "llama", **changes):
        folder = folders(architecture)
        rows = write_rows(tmp_path / "several.jsonl", several_rows(6))
        config = configure(tmp_path, folder, kind=kind, train=rows, **changes)
        template = ChatTemplate.load(folder)
        model = find_kind(kind).initialise(folder, template, KindConfig(), torch.float32, seed=0)
        if config.frozen_backbone:
            model.language_model.freeze()
        if config.gradient_checkpointing:
            model.language_model.checkpoint_activations()
        return model.train(), config, PreparedData().training_trees(model.encoder, config)

    return make


class Held:
    """A tensor that a node of the graph keeps."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor


def kept(model, trees, dtype: torch.dtype) -> int:
    """Bytes of the tensors that a forward pass keeps, but for the weights."""
    none = [np.zeros(sum(len(t.nodes[leaf]) for leaf in t.leaves), np.float32) for t in trees]
    batch = pack(trees, none)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    everything: weakref.WeakSet[Held] = weakref.WeakSet()

    def keep(tensor: torch.Tensor) -> Held:
        held = Held(tensor)
        copies = tensor.ndim == 2 and dtype == tensor.dtype == torch.bfloat16
        of_weights = copies and tuple(tensor.shape) in shapes
        if tensor.untyped_storage().data_ptr() not in weights and not of_weights:
            everything.add(held)
        return held

    with (
        saved_tensors_hooks(keep, lambda held: held.tensor),
        autocast(torch.device("cpu"), torch.float32, dtype),
    ):
        outcome = model(batch)
        assert outcome.losses.requires_grad
    storages = [held.tensor.untyped_storage() for held in everything]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize(
    ("kind", "architecture", "dtype"),
    [
        ("explicit", "llama", torch.float32),
        ("explicit-mean", "llama", torch.float32),
        ("implicit", "llama", torch.bfloat16),
        ("generative", "llama", torch.bfloat16),
        ("generative", "gpt-neox", torch.float32),
        ("implicit", "qwen3", torch.float32),
    ],
)
def test_activations_are_those_that_pytorch_keeps(kind, architecture, dtype, planned):
    model, config, trees = planned(kind, architecture)
    shape, counts = ModelShape.of(model, trees[0]), TreeCounts.of(trees).total()
    estimated = kept_activations(shape, counts, config, replace(CPU, compute_dtype=dtype))
    assert int(estimated[0]) == pytest.approx(kept(model, trees[:], dtype), rel=0.1)


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_beside_an_adapter_are_those_that_pytorch_keeps(adapter, dtype, planned):
    model, config, trees = planned("explicit", adapter=adapter, lora_rank=1)
    setup = replace(CPU, compute_dtype=dtype, lora_rank=1)
    restrict(model.language_model, config, setup.device, dtype)
    shape, counts = ModelShape.of(model, trees[0]), TreeCounts.of(trees).total()
    estimated = kept_activations(shape, counts, config, setup)
    assert int(estimated[0]) == pytest.approx(kept(model, trees[:], dtype), rel=0.1)
    on_cpu, on_gpu = (
        estimate_memory(model, config, trees, replace(setup, device=torch.device(name))).activations
        for name in ("cpu", "cuda")
    )
    assert on_cpu > 1.4 * on_gpu or dtype == torch.bfloat16


def test_weights_gradients_and_moments_are_counted(planned):
    model, config, trees = planned("implicit")
    weights = sum(parameter.numel() for parameter in model.parameters())
    memory = estimate_memory(model, config, trees, FULL)
    assert (memory.weights, memory.gradients, memory.moments) == (
        *(4 * weights, 4 * weights),
        8 * weights,
    )
    # What a processor's step gives back is not in one piece.
    assert estimate_memory(model, config, trees, CPU).gradients == 2 * memory.gradients
    steady = estimate_memory(model, replace(config, moment_batch_size=8), trees, FULL)
    assert steady.moments == 12 * weights
    divided = estimate_memory(model, config, trees, replace(FULL, devices=4, sharded=True))
    assert divided.gradients == weights and divided.moments == 2 * weights
    assert divided.weights > weights  # a block and the embeddings are whole
    away = replace(FULL, devices=4, sharded=True, offloaded=True)
    offloaded = estimate_memory(model, config, trees, away)
    assert offloaded.offloaded == 4 * weights  # a quarter of 16 bytes
    assert (offloaded.weights, offloaded.moments) == (divided.weights - weights, 0)
    assert offloaded.activations == divided.activations
    blocks = sum(p.numel() for p in model.model.model.layers.parameters())
    assert offloaded.gradients == 4 * (weights - blocks + weights // 2)  # of one block of two
    together = estimate_memory(model, config, trees, replace(FULL, devices=4))
    assert together.gradients == 2 * memory.gradients  # exchanged in buckets beside them


def test_lora_trains_its_factors_alone(planned):
    model, config, trees = planned("explicit")
    blocks = model.model.model.layers
    linears = [part for part in blocks.modules() if isinstance(part, torch.nn.Linear)]
    factors = 3 * sum(linear.in_features + linear.out_features for linear in linears)
    memory = estimate_memory(model, config, trees, replace(FULL, lora_rank=3))
    assert memory.gradients == 4 * (factors + 32)  # and the head
    assert memory.moments == 2 * memory.gradients
    assert memory.weights == 4 * (factors + sum(p.numel() for p in model.parameters()))
    half, divided = (
        estimate_memory(model, config, trees, replace(GPU, lora_rank=3, devices=n, sharded=n > 1))
        for n in (1, 4)
    )
    assert divided.moments == half.moments // 4
    outer = 4 * sum(p.numel() for p in model.parameters()) - 4 * sum(
        p.numel() for p in blocks.parameters()
    )
    assert divided.weights == half.weights // 4 + outer + (half.weights - outer)  # of two blocks


def test_what_needs_less_is_said_to(planned):
    model, config, trees = planned("implicit", batch_size=12)
    memory = estimate_memory(model, config, trees, CPU)
    for changes in ({"gradient_checkpointing": True}, {"token_budget": int(trees.sizes.max())}):
        less = estimate_memory(model, replace(config, **changes), trees, CPU)
        assert less.activations < memory.activations
    assert memory.reference > memory.weights  # a second model, before training
    assert estimate_memory(model, config, trees, GPU).reference == 0  # the first is not there yet
    passing = memory.activations + memory.logits
    assert memory.total == memory.weights + memory.gradients + memory.moments + passing
    on_gpu = estimate_memory(model, config, trees, GPU)  # where gradients come as these go
    growing = max(on_gpu.gradients, on_gpu.activations + on_gpu.logits)
    assert on_gpu.total == on_gpu.weights + on_gpu.moments + growing
    frozen, config, trees = planned("implicit", frozen_backbone=True)
    less = estimate_memory(frozen, config, trees, CPU)
    assert less.activations < memory.activations and less.moments < memory.moments
    length, config, trees = planned("length")
    assert estimate_memory(length, config, trees, CPU).total == 0
