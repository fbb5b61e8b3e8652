"""Attention over packed trees, for every transformers model that lets its attention be chosen.

The linear layers of the model run over one unpadded row; here every node of the row attends to its
ancestors and to itself: on a GPU all nodes in one kernel, elsewhere, and where that kernel cannot
compute a model's scores, node by node. No (N, N) mask is ever made.
"""

from collections.abc import Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, cast

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from rewardgap.models.packing import Layout, Segments

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before PyTorch 2.10
    KNOWN: set[str] = set()
else:
    KNOWN = {*signature(varlen_attn).parameters}

HAS_KERNEL = {"window_size", "scale"} <= KNOWN
SHARES_HEADS = "enable_gqa" in KNOWN  # before PyTorch 2.12 it does not
TREE_ATTENTION = "rewardgap_trees"
LARGEST_HEAD, HEAD_STEP = 256, 8
"""The sizes of heads that flash attention takes."""


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    layout: Layout | None = None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Compute the attention of a packed row under its tree layout, by default one causal sequence.

    `query` is (1, heads, N, d); `key` and `value` may have fewer heads, which are repeated. Scores
    are scaled by `scaling` or d^(-1/2), and become softcap · tanh(scores / softcap), as in Gemma-2.
    A token sees `sliding_window` positions at most, itself included. `segments`, where there are
    any, are those of `layout`, on the device of the tensors. `module`, `attention_mask` and further
    arguments are transformers' and unused.

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
    like_queries = value.shape[-1] == query.shape[-1]  # not so in multi-head latent attention
    fits = softcap is None and like_queries and in_one_kernel(dtype, query.shape[-1])
    if segments is not None and fits:
        output = _attend_at_once(query, key, value, segments, scaling, sliding_window)
        return output.to(output_dtype), None
    key, value = _repeat_heads(key, query), _repeat_heads(value, query)
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


def in_one_kernel(dtype: torch.dtype, head_size: int) -> bool:
    """Return whether flash attention computes heads of this size in this precision."""
    halves = (torch.float16, torch.bfloat16)
    fits = head_size <= LARGEST_HEAD and head_size % HEAD_STEP == 0
    return HAS_KERNEL and dtype in halves and fits


def _attend_at_once(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """Return (1, N, heads, d) outputs of all nodes.

    The last query of a node lies at the last key of its path, as in the kernel.
    """
    options: dict[str, Any] = {}
    if SHARES_HEADS:
        options["enable_gqa"] = query.shape[1] != key.shape[1]
    else:
        key, value = _repeat_heads(key, query), _repeat_heads(value, query)
    # (heads, N, d) to (N, heads, d)
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if segments.keys is not None:
        keys, values = (tensor.index_select(0, segments.keys) for tensor in (keys, values))
    before = -1 if sliding_window is None else sliding_window - 1
    output = varlen_attn(
        queries,
        keys,
        values,
        segments.query_ends,
        segments.key_ends,
        segments.longest_node,
        segments.longest_path,
        scale=scaling,
        window_size=(before, 0),
        **options,
    )
    return cast(torch.Tensor, output)[None]


def _repeat_heads(tensor: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Repeat the heads of keys or values so that every head of the queries has one."""
    groups = query.shape[1] // tensor.shape[1]
    return tensor.repeat_interleave(groups, dim=1) if groups > 1 else tensor


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
