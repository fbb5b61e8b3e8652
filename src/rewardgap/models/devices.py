"""Choice of device and precision."""

import logging

import torch

from rewardgap.errors import UserError

# Larger batches overflow a processor's caches, and a GPU is idle with smaller ones.
CPU_TOKENS, GPU_TOKENS = 2048, 16_384

logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Return the named device, or for "auto" a GPU where there is one.

    Raises:
        UserError: This machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} is not available on this machine; try cpu") from error


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the named precision; "auto" is bfloat16 on a GPU that has it, else float32."""
    native = has_native_bfloat16(device)
    if name == "auto":
        return torch.bfloat16 if native and device.type == "cuda" else torch.float32
    if name == "bfloat16" and not native:
        logger.warning(
            "bfloat16 is emulated on this %s and may be a hundred times slower; use float32",
            device.type,
        )
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def describe_place(device: torch.device, compute_dtype: torch.dtype) -> str:
    """Return in words where something computes, and in which precision."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"{device}{name}, products in {str(compute_dtype).removeprefix('torch.')}"


def tokens_at_once(token_budget: int | None, device: torch.device) -> int:
    """Return how many tokens to compute at once: what the user says, else what suits the device."""
    return token_budget or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)


def autocast(
    device: torch.device, weights: torch.dtype, compute_dtype: torch.dtype, cached: bool = True
) -> torch.autocast:
    """Autocast to `compute_dtype`, unless the weights have it already.

    What is cast is kept to the end of the block, for weights that are used again, if it is cached.
    """
    is_cast = weights != compute_dtype
    return torch.autocast(device.type, compute_dtype, enabled=is_cast, cache_enabled=cached)


def has_native_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
