"""The two operators that are ours, timed alone on a GPU, each in the forms that it could have.

    python -m benchmarks.operators --out FILE [--quick]

Attention over a pack of UltraFeedback's lengths: node by node, in one kernel of
`torch.nn.attention.varlen`, and by FlexAttention with a block mask. Log-probabilities of response
tokens under a vocabulary of 128,000: in chunks of different sizes, and by cut-cross-entropy and
PyTorch's own `linear_cross_entropy` where they are installed. Forward and backward passes in
bfloat16; milliseconds are medians.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.cost import seconds_of
from rewardgap.io.files import write_text
from rewardgap.models import language_model
from rewardgap.models.attention import tree_attention
from rewardgap.models.language_model import Vocabulary
from rewardgap.models.packing import Layout

HEADS, KEY_VALUE_HEADS, HEAD_SIZE = 32, 8, 64
PROMPT, RESPONSE, PAIRS = (40, 500), (100, 600), 20
"""From and to how many tokens."""
WIDTH, VOCABULARY, RESPONSE_TOKENS = 2048, 128_000, 4096
CHUNKS = (2**24, 2**26, 2**27, 2**28)


def main() -> None:
    """Time every form that works here, and write what each took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="small, and on any device")
    arguments = parser.parse_args()
    device = "cpu" if arguments.quick else "cuda"
    torch.manual_seed(0)
    found: dict[str, dict[str, Any]] = {}
    for operator, forms in (
        ("attention", attention(device, 2 if arguments.quick else PAIRS)),
        ("vocabulary", vocabulary(device, 1 if arguments.quick else 16)),
    ):
        found[operator] = _time_all(forms, device)
        write_text(arguments.out, json.dumps(found, indent=1))
        print(operator, json.dumps(found[operator], indent=1), flush=True)


def _time_all(
    forms: Mapping[str, Callable[[], tuple[torch.Tensor, ...]]], device: str
) -> dict[str, Any]:
    """Return milliseconds, peak bytes and the distance from the first form's results."""
    first: tuple[torch.Tensor, ...] | None = None
    times: dict[str, Any] = {}
    for name, form in forms.items():
        try:
            values = form()
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if device == "cuda" else 0
            seconds = seconds_of(form, device)
        except Exception as error:  # a form that does not work is a finding
            times[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        first = first or values
        times[name] = {
            "ms": round(1000 * seconds, 3),
            "bytes": torch.cuda.max_memory_allocated() - before if device == "cuda" else 0,
            "distance": max(
                float((a.detach().float() - b.detach().float()).norm() / b.detach().float().norm())
                for a, b in zip(values, first, strict=True)
            ),
        }
    return times


def attention(device: str, pairs: int) -> dict[str, Callable[[], tuple[torch.Tensor, ...]]]:
    """Return attention with its gradients, by form."""
    draw = np.random.default_rng(0).integers
    lengths = [int(draw(*size)) for _ in range(pairs) for size in (PROMPT, RESPONSE, RESPONSE)]
    ancestors = [above for pair in range(pairs) for above in ((), (3 * pair,), (3 * pair,))]
    layout = Layout(tuple(lengths), tuple(ancestors))
    segments = layout.segments(torch.device(device))
    tokens = sum(lengths)

    def draw_states(heads: int) -> torch.Tensor:
        states = torch.randn(1, heads, tokens, HEAD_SIZE, device=device, dtype=torch.bfloat16)
        return states.requires_grad_()

    inputs = [draw_states(heads) for heads in (HEADS, KEY_VALUE_HEADS, KEY_VALUE_HEADS)]
    signal = torch.randn(1, tokens, HEADS, HEAD_SIZE, device=device, dtype=torch.bfloat16)

    def with_gradients(output: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (output, *torch.autograd.grad(output, inputs, signal))

    def by_node() -> tuple[torch.Tensor, ...]:
        return with_gradients(tree_attention(nn.Module(), *inputs, None, layout=layout)[0])

    def at_once() -> tuple[torch.Tensor, ...]:
        output, _ = tree_attention(nn.Module(), *inputs, None, layout=layout, segments=segments)
        return with_gradients(output)

    mask = _flex_mask(layout, device)
    compiled = torch.compile(flex_attention)

    def flex() -> tuple[torch.Tensor, ...]:
        output = compiled(*inputs, block_mask=mask, enable_gqa=True)
        return with_gradients(output.transpose(1, 2))

    return {"node by node": by_node, "one kernel": at_once, "flex": flex}


def _flex_mask(layout: Layout, device: str) -> Any:
    """Return the block mask of a layout: the same tree, and not later."""
    ends = [*accumulate(layout.lengths, initial=0)]
    tokens = ends[-1]
    node = torch.zeros(tokens, dtype=torch.long, device=device)
    for number, (begin, end) in enumerate(pairwise(ends)):
        node[begin:end] = number
    parent = torch.tensor([above[-1] if above else -1 for above in layout.ancestors], device=device)

    def visible(_: Any, __: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        own = (node[query] == node[key]) & (query >= key)
        return own | (parent[node[query]] == node[key])

    return create_block_mask(visible, None, None, tokens, tokens, device=device)


def vocabulary(device: str, scale: int) -> dict[str, Callable[[], tuple[torch.Tensor, ...]]]:
    """Return log-probabilities with their gradients, by form."""
    config = LlamaConfig(
        vocab_size=VOCABULARY * scale // 16, hidden_size=WIDTH, num_hidden_layers=0
    )
    with torch.device(device):
        head = Vocabulary(AutoModelForCausalLM.from_config(config))
    layer = head.layer
    states = torch.randn(RESPONSE_TOKENS * scale // 16, WIDTH, device=device, requires_grad=True)
    tokens = torch.randint(layer.out_features, (len(states),), device=device)
    signal = torch.randn(len(states), device=device)

    def with_gradients(log_probs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (log_probs, *torch.autograd.grad(log_probs, (states, layer.weight), signal))

    def in_chunks(values: int) -> tuple[torch.Tensor, ...]:
        at_once = patch.object(language_model, "chunk_values", lambda _: values)
        with at_once, torch.autocast(device, torch.bfloat16):
            return with_gradients(head.log_probs(states, tokens))

    def cut() -> tuple[torch.Tensor, ...]:
        from cut_cross_entropy import linear_cross_entropy

        half = torch.bfloat16
        losses = linear_cross_entropy(
            states.to(half), layer.weight.to(half), tokens, reduction="none", filter_eps=None
        )
        return with_gradients(-losses.float())

    def fused() -> tuple[torch.Tensor, ...]:
        half = torch.bfloat16
        losses = nn.functional.linear_cross_entropy(
            states.to(half), layer.weight.to(half), tokens, reduction="none"
        )
        return with_gradients(-losses.float())

    sizes = {f"chunks of 2**{values.bit_length() - 1}": values for values in CHUNKS}
    return {
        **{name: partial(in_chunks, values) for name, values in sizes.items()},
        "cut-cross-entropy": cut,
        "torch.nn.functional.linear_cross_entropy": fused,
    }


if __name__ == "__main__":
    main()
