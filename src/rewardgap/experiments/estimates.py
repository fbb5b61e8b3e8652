"""What a run will cost, from tokenised data and the model's configuration alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData
from rewardgap.models.devices import choose_device, tokens_at_once
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel

# Float32 weights and gradients, and Adam's two moments of the gradients.
BYTES_A_PARAMETER = 16
# What a transformer block keeps of a token for the backward pass is about 17 float32 values for
# each hidden dimension (Korthikanti et al., 2022), its input alone with checkpoints.
VALUES_KEPT = 17
VALUES_KEPT_BY_CHECKPOINTING = 1

DONE = "done"
TITLES = ("cell", "state", "tokens trained", "reference", "scored", "memory")


@dataclass(frozen=True)
class Estimate:
    """Tokens and memory of one run.

    Attributes:
        parameters: number of the reward model's parameters.
        trained: tokens of all optimiser steps.
        reference: tokens whose log-probabilities the initial model computes.
        scored: tokens of the evaluation sets.
        memory: bytes of weights, gradients, Adam's moments and activations, roughly.
    """

    parameters: int
    trained: int
    reference: int
    scored: int
    memory: int

    @property
    def cost(self) -> int:
        """Work in units of one parameter's use for one token; a backward pass takes two."""
        return (self.parameters + 1) * (3 * self.trained + self.reference + self.scored)


def estimate(
    config: TrainConfig, folder: Path, template: ChatTemplate, shared: PreparedData
) -> Estimate:
    """The cost of a run that finds no reference log-probabilities in the cache.

    Args:
        config: of the run.
        folder: the initial language model; no weights are read.
        template: its chat template.
        shared: keeps the records and trees for the run itself.

    Raises:
        UserError: the data or the model does not allow the run.
    """
    options = KindConfig.of(config)
    model = find_kind(config.kind).on_meta(folder, template, options)
    training = shared.training_trees(model, config)
    scored = 0
    for spec in config.eval.values():
        rows = shared.records(spec, config.identical_pairs)
        scored += sum(tree.size for tree in shared.encode(model, rows, config.max_length))
    epoch = int(training.sizes.sum())
    parameters = sum(each.numel() for each in model.parameters())
    return Estimate(
        parameters=parameters,
        trained=config.epochs * epoch if parameters else 0,
        reference=epoch + scored if model.needs_reference else 0,
        scored=scored,
        memory=BYTES_A_PARAMETER * parameters + _activations(model, config, training.sizes),
    )


def _activations(model: RewardModel, config: TrainConfig, sizes: NDArray[np.int32]) -> int:
    """Bytes of what the largest micro-batch keeps for the backward pass."""
    if model.language_model is None:
        return 0
    shape = model.language_model.model.config.get_text_config()
    values = VALUES_KEPT_BY_CHECKPOINTING if config.gradient_checkpointing else VALUES_KEPT
    longest = np.sort(sizes)[-config.batch_size :]
    at_once = tokens_at_once(config.token_budget, choose_device(config.device))
    tokens = min(int(longest.sum()), max(at_once, int(longest[-1])))
    return 4 * values * tokens * int(shape.num_hidden_layers) * int(shape.hidden_size)


def format_estimates(lines: Sequence[tuple[str, str, Estimate]]) -> str:
    """A line for each cell (folder, state, tokens, memory) and one for what is left to do."""
    left = [each for _, state, each in lines if state != DONE]
    total = Estimate(
        parameters=0,
        trained=sum(each.trained for each in left),
        reference=sum(each.reference for each in left),
        scored=sum(each.scored for each in left),
        memory=max((each.memory for each in left), default=0),
    )
    sums = (f"{len(left)} of {len(lines)} to do", "", total)
    table = [TITLES, *map(_format_line, [*lines, sums])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in table
    )


def _format_line(line: tuple[str, str, Estimate]) -> tuple[str, ...]:
    folder, state, each = line
    tokens = (f"{count:,}" for count in (each.trained, each.reference, each.scored))
    return (folder, state, *tokens, f"{each.memory / 2**30:.1f} GiB")
