"""Settings of where and how to compute and of pairs that cannot be compared; checks of numbers."""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rewardgap.configs.paths import HomePaths
from rewardgap.errors import UserError

Identical = Literal["refuse", "drop"]
"""What to do with a record that has a response both chosen and rejected."""

BadRecords = Literal["refuse", "drop"]
"""What to do with a record that cannot be used."""

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(HomePaths):
    """Where and how to compute."""

    max_length: int | None = None
    """truncate prompt and response to at most this many tokens, from the start of the prompt first;
    by default no limit, and a run is scored with the limit of its training"""
    identical_pairs: Identical = "refuse"
    """what to do with records that have a response both chosen and rejected"""
    bad_records: BadRecords = "refuse"
    """what to do with records that cannot be used: wrong rows, empty responses, conversations that
    the chat template refuses or writes in part; dropped ones are listed beside the output"""
    template: str | None = None
    """chat template instead of the model's: a file, one of the model's by name, or one of paper,
    chatml, llama-3, zephyr, alpaca; a run is scored with that of its training"""
    dtype: Dtype = "auto"
    """precision of matrix products, trained weights stay float32; auto is bfloat16 on GPUs that
    support it and float32 elsewhere"""
    device: Device = "auto"
    """auto uses a GPU if there is one; CUDA_VISIBLE_DEVICES selects which"""
    token_budget: int | None = None
    """tokens per forward pass; a smaller number needs less memory and changes no result; by default
    2,048 on a CPU, for its caches, and 16,384 on a GPU; a larger record is computed alone"""


@dataclass(frozen=True, kw_only=True)
class CachedComputeConfig(ComputeConfig):
    """Where and how to compute, and where to cache reusable results."""

    cache: str | None = None
    """folder of tokenised training data and of reference log-probabilities; by default
    $REWARDGAP_CACHE or ~/.cache/rewardgap"""


def at_least(config: object, least: int, *names: str) -> None:
    """Refuse values below `least`; None is allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}; it is {value}")


def positive(config: object, *names: str) -> None:
    """Refuse values that are not positive and finite; None is allowed."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value <= sys.float_info.max:
            raise UserError(f"{name} must be positive and finite; it is {value!r:.40}")


def refuse_keys_of_others(config: Any, keys: Mapping[str, Collection[str]]) -> None:
    """Refuse a key that is set and that, by executor, others take than the one that is chosen."""
    for key in sorted({key for taken in keys.values() for key in taken}):
        if key not in keys[config.executor] and getattr(config, key) is not None:
            takers = " or ".join(name for name, taken in keys.items() if key in taken)
            raise UserError(
                f"{key}: the executor {config.executor} takes no such key; leave it out, or choose "
                f"the executor {takers}"
            )
