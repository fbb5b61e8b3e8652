"""The memory that training takes, from the shapes of the model and the sizes of the data.

Every formula of it is here: a run's first lines, the estimates of a grid and `plan` say the same.
"""

import logging
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch

from rewardgap.configs.training import TrainConfig
from rewardgap.data.tree_counts import Counts, TreeCounts
from rewardgap.data.tree_store import StoredTrees
from rewardgap.models.devices import choose_device, choose_dtype, tokens_at_once
from rewardgap.models.kinds.reward_model import RewardModel, TrainedRewardModel
from rewardgap.models.language_model import chunk_values
from rewardgap.models.packing import divide_sizes, group_sizes
from rewardgap.models.shape import ModelShape
from rewardgap.training.batches import BatchSampler

logger = logging.getLogger(__name__)

FLOAT = 4
"""Bytes of a weight, and of its gradient and each moment: all are float32."""
LIBRARIES = 64 * 2**20
"""What a processor's libraries take once training begins, about, as docs/plan.md measured it."""
STEPS = 2000
"""Number of steps that are looked at for the largest micro-batch."""
CHUNKS = 3
"""Arrays of a chunk's logits in its backward pass: the log-probabilities and two gradients."""
UNITS = 2
"""Blocks whose weights a device holds whole, of a model that is divided: one is fetched ahead."""

HOLES = 1.55
"""What activations beside adapters take on a processor, as a multiple of what is kept of them:
between lie outputs of products that are free again, and seldom fit. docs/plan.md measured it."""
BYTES_PER_MOMENT, BYTES_PER_SMALL_MOMENT = 4, 1
"""Of a weight that is trained: each of Adam's moments, in float32 or in 8 bits."""
BYTES_IN_4_BITS = 0.516
"""Of a weight in 4 bits: 64 of them share a scale of 8 bits, and 256 of these one of 32."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the highest point of a training, by what they are for.

    Attributes:
        weights: Of the model, with copies in half precision.
        gradients: Of what is trained, with copies that processes exchange; on a processor twice,
            for memory that one step gives back is seldom free in one piece for the next.
        moments: Adam's.
        activations: What the largest micro-batch keeps for its backward pass, or holds for a
            moment.
        logits: Of one chunk of positions, with their gradients.
        reference: The second model that computes an implicit kind's reference, before training.
        in_one_pass: Whether gradients come as activations go: on a GPU, if a step is one
            micro-batch.
        offloaded: Not on the device, but in the computer's memory.
    """

    weights: int
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    logits: int = 0
    reference: int = 0
    in_one_pass: bool = False
    offloaded: int = 0

    @property
    def total(self) -> int:
        """Bytes at the highest point, of training or of the reference before it."""
        passing = self.activations + self.logits
        growing = max(self.gradients, passing) if self.in_one_pass else self.gradients + passing
        return self.weights + max(self.moments + growing, self.reference)


@dataclass(frozen=True)
class Setup:
    """Where and how a model is trained.

    Attributes:
        device: The device, which need not be there.
        compute_dtype: Precision of matrix products.
        devices: Number of devices, which divide the pairs of a step.
        sharded: Whether they also divide weights, gradients and moments.
        lora_rank: Rank of LoRA in all products of the blocks; None: no LoRA.
        offloaded: Whether what is divided is in the computer's memory.
    """

    device: torch.device
    compute_dtype: torch.dtype
    devices: int = 1
    sharded: bool = False
    lora_rank: int | None = None
    offloaded: bool = False

    @classmethod
    def of(
        cls, config: TrainConfig, device: torch.device, compute_dtype: torch.dtype, devices: int = 1
    ) -> "Setup":
        """Return the setup of a run on so many devices."""
        rank = config.rank if config.adapter else None
        sharded = config.shard and devices > 1
        return cls(device, compute_dtype, devices, sharded, rank, sharded and config.offload)

    @classmethod
    def here(cls, config: TrainConfig, devices: int = 1) -> "Setup":
        """Return the setup of a run on this machine, or on several like it."""
        device = choose_device(config.device)
        return cls.of(config, device, choose_dtype(config.dtype, device), devices)


def memory_of_weights(model: RewardModel) -> int:
    """Return the bytes of a model's weights, each in its precision."""
    total = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    language_model = model.language_model
    adapter = language_model.adapter if language_model else None
    if language_model is None or adapter is None or not adapter.quantised:
        return total
    # Without weights there is nothing to quantise, and they still have the shapes of before.
    whole = [matrix for matrix in language_model.frozen_matrices() if matrix.is_meta]
    excess = sum(matrix.numel() * (matrix.element_size() - BYTES_IN_4_BITS) for matrix in whole)
    return total - round(excess)


def estimate_memory(
    model: RewardModel, config: TrainConfig, trees: StoredTrees, setup: Setup
) -> Memory:
    """Return what training takes on each device, but for what the program takes by itself.

    Warns of a model whose activations are not known, and not counted.

    Args:
        model: The reward model; it may be without weights.
        config: The configuration of its training.
        trees: Its training records.
        setup: Where and how it is trained.
    """
    if not isinstance(model, TrainedRewardModel):
        return Memory(weights=0)
    shape = ModelShape.of(model, trees[0])
    if not shape.layers:
        logger.warning(
            "the blocks of a %s have an unknown form: what their activations take is not counted "
            "in the memory of its training",
            type(model.model).__name__,
        )
    groups, in_one_pass = _micro_batches(config, trees, setup)
    batches = TreeCounts.of(trees).sums(groups)
    activations = kept_activations(shape, batches, config, setup) + _passing(shape, batches, setup)
    on_cpu = setup.device.type == "cpu"
    if on_cpu and setup.lora_rank is not None:
        activations = (HOLES * activations).astype(np.int64)
    logits = _logits(shape, batches, setup)
    largest = int((activations + logits).argmax())
    trained = shape.trained if model.adapted else _trained(shape, setup)
    moment = BYTES_PER_MOMENT if config.optimiser is None else BYTES_PER_SMALL_MOMENT
    moments = 3 if (config.moment_batch_size or 0) > config.batch_size else 2
    share = setup.devices if setup.sharded else 1
    buckets = setup.devices > 1 and not setup.sharded  # DDP's
    needs_another = model.needs_reference and setup.lora_rank is None and on_cpu
    weights = _weights(model, shape, setup)
    gradients = FLOAT * (1 + buckets + on_cpu) * trained // share
    of_moments, offloaded = moment * moments * trained // share, 0
    if setup.offloaded:  # the device has the gradients of a block, and of what is outside of blocks
        parts = _weights(model, shape, replace(setup, offloaded=False)) - weights
        offloaded = parts + gradients + of_moments
        outside = min(trained, shape.embeddings)
        gradients, of_moments = FLOAT * (outside + trained // max(1, shape.layers)), 0
    return Memory(
        weights=weights,
        gradients=gradients,
        moments=of_moments,
        activations=int(activations[largest]),
        logits=int(logits[largest]),
        reference=FLOAT * shape.parameters + int(logits[largest]) if needs_another else 0,
        in_one_pass=in_one_pass and setup.device.type == "cuda",
        offloaded=offloaded,
    )


def _micro_batches(
    config: TrainConfig, trees: StoredTrees, setup: Setup
) -> tuple[list[list[int]], bool]:
    """Return the trees of the first process's micro-batches, and whether each step is one.

    Of a long run they are those of its first steps, and the largest tree, wherever it comes.
    """
    capacity = tokens_at_once(config.token_budget, setup.device)
    steps = BatchSampler(
        trees.pairs, config.batch_size, config.epochs, config.seed, config.max_steps
    )
    groups: list[list[int]] = []
    for step in islice(steps, STEPS):
        first = divide_sizes(trees.sizes[step].tolist(), setup.devices)[0]
        share = [step[i] for i in first]
        for batch in group_sizes(trees.sizes[share].tolist(), capacity):
            groups.append([share[i] for i in batch])
    in_one_pass = len(groups) == min(len(steps), STEPS)
    return [*groups, [int(trees.sizes.argmax())]], in_one_pass


def _trained(shape: ModelShape, setup: Setup) -> int:
    """Return the number of weights that are trained; with LoRA also a new head."""
    if setup.lora_rank is None:
        return shape.trained
    return setup.lora_rank * shape.factors + (0 if shape.vocabulary else shape.width)


def _weights(model: RewardModel, shape: ModelShape, setup: Setup) -> int:
    """Return the bytes of the weights that a device holds.

    With LoRA, the frozen weights of products are in the precision of these.
    """
    weights, size = memory_of_weights(model), setup.compute_dtype.itemsize
    if setup.lora_rank is not None and not model.adapted:
        weights += FLOAT * setup.lora_rank * shape.factors - (FLOAT - size) * shape.products
    if setup.sharded:
        whole = FLOAT * shape.embeddings
        block = (weights - whole) // max(1, shape.layers)
        part = 0 if setup.offloaded else weights // setup.devices
        weights = part + whole + UNITS * block
    copied = size < FLOAT and shape.trained_in_blocks > 0 and setup.lora_rank is None
    return weights + size * (shape.products + shape.output) * copied


def _passing(shape: ModelShape, counts: TreeCounts, setup: Setup) -> Counts:
    """Return the bytes that each micro-batch holds for a moment, of the block that is computed."""
    size = 2 * (shape.gates + shape.width) * setup.compute_dtype.itemsize
    passing: Counts = counts.tokens * size
    return passing


def kept_activations(
    shape: ModelShape, counts: TreeCounts, config: TrainConfig, setup: Setup
) -> Counts:
    """Return the bytes that each micro-batch keeps for its backward pass.

    A block keeps the inputs of its norms, with their normalised values, and of its products; the
    outputs before and behind the feed-forward network's gate; queries, keys, values and outputs of
    attention (as Korthikanti et al., 2022, count, for trees). DoRA keeps the output of every
    product twice more: of the frozen matrix, and of the adapter.
    """
    size, width = setup.compute_dtype.itemsize, shape.width
    if not shape.trained_in_blocks:
        return np.zeros_like(counts.tokens)
    of_mlp = size * (2 * shape.gates - shape.inner_width)
    twice_more = 2 * size * config.scales_outputs
    outputs = twice_more * (shape.factors // shape.layers - shape.inputs)
    inputs = shape.inputs if size < FLOAT else 2 * width + shape.query_width + shape.inner_width
    normalised = shape.normalised * (2 if setup.lora_rank is None else 1)
    per_token = FLOAT * normalised + size * inputs + outputs + of_mlp
    block = counts.tokens * per_token + _attention(shape, counts, setup)
    final = FLOAT * width * (2 * counts.tokens + shape.positions_read(counts))
    if config.gradient_checkpointing:  # the inputs of all blocks, and one block that is at work
        checkpoints: Counts = shape.layers * FLOAT * width * counts.tokens
        return checkpoints + block + final
    skipped = shape.skips * (counts.tokens - shape.positions_read(counts))
    last = of_mlp + size * shape.inner_width + twice_more * (shape.gates + width)
    all_blocks: Counts = shape.layers * block - skipped * last
    return all_blocks + final


def _attention(shape: ModelShape, counts: TreeCounts, setup: Setup) -> Counts:
    """Return the bytes that the attention of a block keeps."""
    size, queries, keys = setup.compute_dtype.itemsize, shape.query_width, shape.key_width
    if setup.device.type == "cuda" and size < FLOAT:  # one kernel: heads share keys
        shared: Counts = 2 * (queries + 2 * keys) * counts.tokens + 2 * keys * counts.gathered
        return shared * size
    masks = counts.scored * (setup.device.type == "cpu")
    by_node: Counts = queries * (4 * counts.tokens + 2 * counts.gathered) + masks
    return by_node * FLOAT


def _logits(shape: ModelShape, counts: TreeCounts, setup: Setup) -> Counts:
    """Return the bytes of a chunk's logits, and of the output layer's gradient from them."""
    if not shape.vocabulary:
        return np.zeros_like(counts.tokens)
    rows = max(1, chunk_values(setup.device) // shape.vocabulary)
    logits = shape.vocabulary * np.minimum(shape.positions_read(counts), rows)
    gradient = 0 if setup.lora_rank is not None else FLOAT * shape.output
    together: Counts = logits * (FLOAT * CHUNKS + setup.compute_dtype.itemsize % FLOAT) + gradient
    return together
