"""What makes a training fit that does not: each remedy is tried by the same estimate of memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from rewardgap.configs.training import TrainConfig
from rewardgap.training.memory import Memory, Setup

DEVICES = (2, 4, 8, 16, 32, 64)
"""Numbers of devices that are tried."""
Estimate = Callable[[TrainConfig, Setup], Memory]


def find_remedies(
    config: TrainConfig,
    setup: Setup,
    largest: int,
    rank: int,
    fits: Callable[[Memory], bool],
    estimate: Estimate,
) -> tuple[str, ...]:
    """Return what would make a training fit, each by itself; all together where nothing else does.

    Args:
        config: The configuration of the training.
        setup: Where and how it would be trained.
        largest: Tokens of the largest record, the smallest budget of tokens there is.
        rank: Rank of LoRA.
        fits: Whether a device has so much memory.
        estimate: Returns the memory of another configuration and setup.
    """
    alone: list[str] = []
    for words, changed, other in _changes(config, setup, largest, rank):
        together = ", " in words
        fewer = any("devices" in remedy for remedy in alone)
        if (together and alone) or ("devices" in words and fewer):
            continue
        if fits(estimate(changed, other)):
            alone.append(words)
            if together:
                break
    return tuple(alone)


def _changes(
    config: TrainConfig, setup: Setup, largest: int, rank: int
) -> Iterator[tuple[str, TrainConfig, Setup]]:
    """Yield changes in words, from one to all, with the configuration and setup that they make."""
    checkpointed = replace(config, gradient_checkpointing=True)
    least = replace(config, token_budget=largest)
    smallest = replace(checkpointed, token_budget=largest)
    of_least = f"token_budget {largest}"
    if not config.gradient_checkpointing:
        yield "gradient_checkpointing", checkpointed, setup
    yield of_least, least, setup
    adapted = replace(setup, lora_rank=rank)
    if setup.lora_rank is None and not config.frozen_backbone:
        yield f"LoRA of rank {rank}", config, adapted
    counts = [count for count in DEVICES if count >= setup.devices]
    for count in counts:
        yield f"{count} devices that divide it", config, replace(setup, devices=count, sharded=True)
    yield f"gradient_checkpointing, {of_least}", smallest, setup
    if setup.lora_rank is None and not config.frozen_backbone:
        yield f"LoRA of rank {rank}, gradient_checkpointing, {of_least}", smallest, adapted
    for count in counts:
        sharded = replace(setup, devices=count, sharded=True)
        yield (
            f"{count} devices that divide it, gradient_checkpointing, {of_least}",
            smallest,
            sharded,
        )
