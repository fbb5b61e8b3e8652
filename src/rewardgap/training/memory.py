"""The memory that training takes, from the shapes of the model and the lengths of the data."""

import numpy as np
from numpy.typing import NDArray

from rewardgap.configs.training import TrainConfig
from rewardgap.models.devices import choose_device, tokens_at_once
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.reading import layers_of

BYTES_PER_WEIGHT, BYTES_PER_TRAINED = 4, 12
"""Of a weight in float32, and of its gradient and Adam's two moments, where it is trained."""
BYTES_PER_CAST = 2
"""Of a weight in bfloat16."""
VALUES_KEPT = 17
"""Float32 values per token and hidden dimension that a transformer block keeps for the backward
pass, about (Korthikanti et al., 2022)."""
VALUES_KEPT_BY_CHECKPOINTING = 1
"""With gradient checkpoints a block keeps its input alone."""


def memory_of_weights(model: RewardModel) -> int:
    """Return the bytes of a model's weights."""
    return BYTES_PER_WEIGHT * sum(parameter.numel() for parameter in model.parameters())


def estimate_memory(
    model: RewardModel, config: TrainConfig, sizes: NDArray[np.int32], parts: int = 1
) -> int:
    """Return about how many bytes weights, gradients, moments and activations take together.

    Args:
        model: The reward model; it may be without weights.
        config: The configuration of its training.
        sizes: The number of tokens of every training record.
        parts: The number of processes that weights, gradients and moments are divided among.
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    of_weights = memory_of_weights(model) + BYTES_PER_TRAINED * trained
    if parts > 1:
        of_weights = of_weights // parts + _gathered(model, config)
    return of_weights + _activations(model, config, sizes)


def _gathered(model: RewardModel, config: TrainConfig) -> int:
    """Return the bytes of divided weights and gradients that are whole at once.

    They are those of two layers, for the next one is gathered early, and of all but the layers.
    Without gradient checkpoints the backward pass has the weights of all layers as they were cast.
    """
    language_model = model.language_model
    layers = layers_of(language_model.model) if language_model else []
    counts = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
    rest = sum(parameter.numel() for parameter in model.parameters()) - sum(counts)
    cast = 0 if config.gradient_checkpointing else BYTES_PER_CAST * sum(counts)
    return 2 * BYTES_PER_WEIGHT * (rest + 2 * max(counts, default=0)) + cast


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
