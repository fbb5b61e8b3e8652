"""Where and how commands compute, and what they do with degenerate pairs."""

from dataclasses import dataclass
from typing import Literal

Identical = Literal["refuse", "drop"]
"""What to do with a record whose chosen and rejected responses coincide."""

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


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


@dataclass(frozen=True, kw_only=True)
class CachedComputeConfig(ComputeConfig):
    """Where and how to compute, and where results that can be used again are kept."""

    cache: str | None = None
    """folder of tokenised training data and of reference log-probabilities; by default
    $REWARDGAP_CACHE or ~/.cache/rewardgap"""
