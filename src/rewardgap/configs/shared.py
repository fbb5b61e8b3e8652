"""What several commands can be told alike."""

from dataclasses import dataclass
from typing import Literal

from rewardgap.errors import UserError
from rewardgap.records import Identical

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class KindConfig:
    """Settings that some kinds of reward model read."""

    beta: float | None = None
    """factor of an implicit reward; by default 0.01, or 1 without a reference"""
    likelihood_weight: float = 0.0
    """λ of a generative model's loss: weight of −ln π(chosen | prompt)"""
    verification_prompt: str | None = None
    """a generative model's question, with {prompt} and {response}; by default the paper's"""

    def __post_init__(self) -> None:
        """Refuse a factor that would turn rewards around or into nothing."""
        positive(self, "beta")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and how to compute."""

    max_length: int | None = None
    """cut prompt and response to so many tokens, the start of the prompt first; by default nothing
    is cut, and a run is scored as it was trained"""
    identical_pairs: Identical = "refuse"
    """what to do with records whose chosen and rejected responses coincide"""
    dtype: Dtype = "auto"
    """precision of matrix products, weights stay float32; auto is bfloat16 on GPUs that have it and
    float32 elsewhere"""
    device: Device = "auto"
    """auto takes a GPU where there is one; CUDA_VISIBLE_DEVICES says which"""
    token_budget: int | None = None
    """tokens computed at once; less needs less memory, and changes no result; by default 2,048 on a
    processor, whose caches more would overflow, and 16,384 on a GPU, and a larger record alone"""
    cache: str | None = None
    """folder of tokenised training data and of reference log-probabilities; by default
    $REWARDGAP_CACHE or ~/.cache/rewardgap"""


def at_least(config: object, least: int, *names: str) -> None:
    """Refuse a value that is too small; None is not a value.

    Raises:
        UserError: one of the named keys is below `least`.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}; it is {value}")


def positive(config: object, *names: str) -> None:
    """Refuse a value that is not positive; None is not a value.

    Raises:
        UserError: one of the named keys is zero, negative or not a number.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(f"{name} must be positive; it is {value}")
