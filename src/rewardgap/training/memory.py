"""The memory that training takes, from the shapes of the model and the lengths of the data."""

import numpy as np
from numpy.typing import NDArray

from rewardgap.configs.training import TrainConfig
from rewardgap.models.devices import choose_device, tokens_at_once
from rewardgap.models.kinds.reward_model import RewardModel

BYTES_PER_GRADIENT, BYTES_PER_MOMENTS, BYTES_PER_SMALL_MOMENTS = 4, 8, 2
"""Of a weight that is trained: its gradient, and Adam's two moments in float32 or in 8 bits."""
BYTES_IN_4_BITS = 0.516
"""Of a weight in 4 bits: 64 of them share a scale of 8 bits, and 256 of these one of 32."""
VALUES_KEPT = 17
"""Float32 values per token and hidden dimension that a transformer block keeps for the backward
pass, about (Korthikanti et al., 2022)."""
VALUES_KEPT_BY_CHECKPOINTING = 1
"""With gradient checkpoints a block keeps its input alone."""


def memory_of_weights(model: RewardModel) -> int:
    """Return the bytes of a model's weights, each in its precision."""
    total = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    adapter = model.adapted.adapter if model.adapted else None
    if adapter is None or not adapter.quantised:
        return total
    # Without weights there is nothing to quantise, and they still have the shapes of before.
    whole = [matrix for matrix in adapter.frozen_matrices() if matrix.is_meta]
    excess = sum(matrix.numel() * (matrix.element_size() - BYTES_IN_4_BITS) for matrix in whole)
    return total - round(excess)


def estimate_memory(model: RewardModel, config: TrainConfig, sizes: NDArray[np.int32]) -> int:
    """Return about how many bytes weights, gradients, moments and activations take together.

    Args:
        model: The reward model; it may be without weights.
        config: The configuration of its training.
        sizes: The number of tokens of every training record.
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    moments = BYTES_PER_MOMENTS if config.optimiser is None else BYTES_PER_SMALL_MOMENTS
    of_weights = memory_of_weights(model) + (BYTES_PER_GRADIENT + moments) * trained
    return of_weights + _activations(model, config, sizes)


def _activations(model: RewardModel, config: TrainConfig, sizes: NDArray[np.int32]) -> int:
    """Return the bytes that the largest micro-batch keeps for the backward pass."""
    if model.language_model is None:
        return 0
    shape = model.language_model.model.config.get_text_config()
    values = VALUES_KEPT_BY_CHECKPOINTING if config.gradient_checkpointing else VALUES_KEPT
    longest = np.sort(sizes)[-config.batch_size :]
    at_once = tokens_at_once(config.token_budget, choose_device(config.device))
    tokens = min(int(longest.sum()), max(at_once, int(longest[-1])))
    return 4 * values * tokens * int(shape.num_hidden_layers) * int(shape.hidden_size)
