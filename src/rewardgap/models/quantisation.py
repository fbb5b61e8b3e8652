"""Blocks of a model in 4 bits (NF4, with quantised scales), by bitsandbytes."""

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from rewardgap.errors import UserError, require_package
from rewardgap.models.reading import layers_of


def require_bitsandbytes(why: str, device: torch.device) -> None:
    """Refuse what needs bitsandbytes where it is not installed, or cannot compute."""
    require_package("bitsandbytes", "bitsandbytes", why)
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"{why}, which bitsandbytes does not compute on {device.type}")


def quantise(model: PreTrainedModel, device: torch.device, compute_dtype: torch.dtype) -> None:
    """Keep the matrices of a model's blocks in 4 bits, and bring it to the device for that.

    Raises:
        UserError: The model has blocks of another form.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    layers = layers_of(model)
    if not layers:
        raise UserError(f"quantise: the layers of a {type(model).__name__} have an unknown form")
    for layer in layers:
        for name, linear in list(layer.named_modules()):
            if type(linear) is nn.Linear:
                with torch.device("meta"):
                    small = Linear4bit(
                        *(linear.in_features, linear.out_features, linear.bias is not None),
                        compute_dtype=compute_dtype,
                        quant_type="nf4",
                    )
                small.weight = Params4bit(linear.weight.data, False, quant_type="nf4")
                small.bias = linear.bias
                # On some processors it would pack them for inference, with wrong gradients then.
                small.support_avx512bf16_for_cpu = False
                _replace(layer, name, small)
        layer.to(device)  # by which bitsandbytes quantises
    nn.Module.to(model, device)


def dequantise(model: PreTrainedModel) -> None:
    """Make ordinary layers with the same float32 matrices of those in 4 bits."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    for name, small in list(model.named_modules()):
        if isinstance(small, Linear4bit):
            weight = dequantize_4bit(small.weight.data, small.weight.quant_state).float()
            with torch.device("meta"):
                linear = nn.Linear(small.in_features, small.out_features, small.bias is not None)
            linear.weight = nn.Parameter(weight)
            linear.bias = cast(nn.Parameter, small.bias)
            _replace(model, name, linear)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
