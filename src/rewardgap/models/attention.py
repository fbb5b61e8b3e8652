"""Attention over packed trees, for every transformers model that lets its attention be chosen.

The linear layers of the model run over one unpadded row; here the row is split into nodes, and
every node attends to its ancestors and to itself. No (N, N) mask is ever made.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rewardgap.models.packing import Layout

TREE_ATTENTION = "rewardgap_trees"


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Compute the attention of a packed row under its tree layout, by default one causal sequence.

    `query` is (1, heads, N, d); `key` and `value` may have fewer heads, which are repeated. Scores
    are scaled by `scaling` or d^(-1/2), and become softcap · tanh(scores / softcap), as in Gemma-2.
    A token sees `sliding_window` positions at most, itself included. `module`, `attention_mask` and
    further arguments are transformers' and unused.

    Returns:
        (1, N, heads, d) outputs, and None for the weights.

    Raises:
        NotImplementedError: The model adds attention sinks, which trees do not support.
    """
    if unused.get("s_aux") is not None:
        raise NotImplementedError("attention sinks are not supported")
    # Processors attend twice as fast in float32 as in bfloat16. Under autocast only the values have
    # the dtype of the result.
    output_dtype = dtype = value.dtype
    if query.device.type == "cpu":
        dtype = torch.promote_types(dtype, torch.float32)
    query, key, value = (tensor.to(dtype) for tensor in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    nodes = layout or Layout((query.shape[2],), ((),))
    # One split per tensor: its backward is a single concatenation, where slices would each fill
    # a whole row with zeros.
    queries, keys, values = (tensor.split(nodes.lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    with torch.autocast(query.device.type, enabled=False):
        for node, above in enumerate(nodes.ancestors):
            path = (*above, node)
            attended, read = _join(keys, path), _join(values, path)
            outputs.append(_attend(queries[node], attended, read, scaling, sliding_window, softcap))
    return torch.cat(outputs, dim=2).transpose(1, 2).to(output_dtype).contiguous(), None


def _join(tensors: Sequence[torch.Tensor], path: Sequence[int]) -> torch.Tensor:
    """Return the keys or values along a path of nodes."""
    return torch.cat([tensors[i] for i in path], dim=2) if len(path) > 1 else tensors[path[0]]


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    sliding_window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Compute causal attention of the last positions of a sequence to all of it."""
    new, total = query.shape[2], key.shape[2]
    window = sliding_window if sliding_window and sliding_window < total else None
    if softcap is None and window is None and new == total:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    if softcap is None and window is None:
        # Not a mask, for which GPUs have no flash attention.
        shape = causal_lower_right(new, total)
        return scaled_dot_product_attention(query, key, value, attn_mask=shape, scale=scaling)
    mask = _causal_mask(new, total, window, query.device)
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(value.dtype) @ value


@lru_cache(maxsize=32)
def _causal_mask(new: int, total: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Return a (new, total) mask, true where the i-th of the last `new` positions attends.

    It is made on the device: a copy to a GPU would have the host wait.
    """
    positions = torch.arange(total, device=device)
    distance = positions[total - new :, None] - positions
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    return mask


AttentionInterface.register(TREE_ATTENTION, tree_attention)
