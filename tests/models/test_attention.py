"""Attention of packed trees against one dense, masked softmax."""

import inspect

import pytest
import torch
from forests import DEEP, FURTHER, PAIR, forests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardgap.models import attention
from rewardgap.models.attention import tree_attention
from rewardgap.models.packing import Pack, pack

CPU = torch.device("cpu")


def visible(packed: Pack, window: int | None) -> torch.Tensor:
    """(N, N) mask by the definition: own node or an ancestor, not later, within the window."""
    lengths, ancestors = packed.layout.lengths, packed.layout.ancestors
    nodes = range(len(lengths))
    related = torch.tensor([[i == j or j in ancestors[i] for j in nodes] for i in nodes])
    owner = torch.tensor([node for node in nodes for _ in range(lengths[node])])
    distance = packed.positions[:, None] - packed.positions
    near = distance < (len(owner) if window is None else window)
    return related[owner][:, owner] & (distance >= 0) & near


def dense(query, key, value, mask, scaling, softcap):
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    scores = query @ key.mT * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return (scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value).transpose(1, 2)


def tensors(tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, tokens, 8) for heads in (4, 2, 2)]
    drawn = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return [x.requires_grad_() for x in drawn]


def compare(
    packed: Pack, window: int | None, softcap: float | None, *, at_once: bool = False
) -> None:
    inputs = tensors(len(packed.tokens))
    output, weights = tree_attention(
        torch.nn.Module(),
        *inputs,
        None,
        scaling=0.7,
        layout=packed.layout,
        segments=packed.layout.segments(CPU) if at_once else None,
        sliding_window=window,
        softcap=softcap,
        dropout=0.0,
    )
    expected = dense(*inputs, visible(packed, window), 0.7, softcap)
    assert weights is None and output.shape == expected.shape
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    signal = torch.randn(expected.shape, dtype=torch.float64)
    for got, wanted in zip(
        torch.autograd.grad(output, inputs, signal),
        torch.autograd.grad(expected, inputs, signal),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 2, 100])
@pytest.mark.parametrize("softcap", [None, 0.5])
def test_packs(window, softcap):
    compare(pack([PAIR, DEEP, FURTHER]), window, softcap)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(forests(), min_size=1, max_size=3),
    st.none() | st.integers(1, 6),
    st.none() | st.just(2.0),
)
def test_any_forest(trees, window, softcap):
    compare(pack(trees), window, softcap)


def test_without_a_layout_a_row_is_one_causal_sequence():
    inputs = tensors(6)
    output, _ = tree_attention(torch.nn.Module(), *inputs, None)
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    expected = dense(*inputs, mask, 8**-0.5, None)
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)


def test_attention_sinks_are_refused():
    with pytest.raises(NotImplementedError, match="sinks"):
        tree_attention(torch.nn.Module(), *tensors(3), None, s_aux=torch.zeros(4))


def by_definition(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa=False
):
    """`varlen_attn`, which has no CPU kernel, as its documentation and that of flash attention say.

    The last query of a sequence is aligned with its last key; a query sees `window_size[0]` keys
    before that of its own position and `window_size[1]` after it; -1 is no limit.
    """
    assert window_size[1] == 0 and query.dtype == key.dtype == value.dtype
    assert query.shape[2] == key.shape[2] == value.shape[2]
    assert enable_gqa == (query.shape[1] != key.shape[1])
    outputs = []
    for i in range(len(cu_seq_q) - 1):
        q = query[cu_seq_q[i] : cu_seq_q[i + 1]]
        k, v = (each[cu_seq_k[i] : cu_seq_k[i + 1]] for each in (key, value))
        assert len(q) <= max_q and len(k) <= max_k
        distance = torch.arange(len(k) - len(q), len(k))[:, None] - torch.arange(len(k))
        mask = distance >= 0
        if window_size[0] >= 0:
            mask &= distance <= window_size[0]
        each = (x.transpose(0, 1)[None] for x in (q, k, v))
        outputs.append(dense(*each, mask, scale, None)[0])
    return torch.cat(outputs)


@pytest.fixture
def kernel(monkeypatch):
    """The kernel by its definition, in any precision."""
    monkeypatch.setattr(attention, "varlen_attn", by_definition)
    monkeypatch.setattr(attention, "in_one_kernel", lambda dtype, size: True)


@pytest.mark.parametrize("window", [None, 1, 2, 100])
def test_packsin_one_kernel(kernel, window):
    compare(pack([PAIR, DEEP, FURTHER]), window, None, at_once=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(forests(), min_size=1, max_size=3), st.none() | st.integers(1, 6))
def test_any_forestin_one_kernel(kernel, trees, window):
    compare(pack(trees), window, None, at_once=True)


def test_without_kernels_that_share_heads_they_are_repeated(kernel, monkeypatch):
    monkeypatch.setattr(attention, "SHARES_HEADS", False)
    compare(pack([PAIR, DEEP]), None, None, at_once=True)


def test_what_the_kernel_cannot_compute_is_computed_node_by_node():
    packed = pack([PAIR, DEEP])
    compare(packed, None, 0.5, at_once=True)  # soft-capping
    compare(packed, None, None, at_once=True)  # float64
    assert attention.in_one_kernel(torch.bfloat16, 256)
    assert not attention.in_one_kernel(torch.bfloat16, 264)
    assert not attention.in_one_kernel(torch.bfloat16, 20)
    assert not attention.in_one_kernel(torch.float32, 64)


def test_values_of_another_size_than_queries_go_node_by_node(kernel):
    packed, (query, key, _) = pack([PAIR, DEEP]), tensors(12)
    value = torch.randn(1, 2, 12, 6, dtype=torch.float64)
    layout = {"layout": packed.layout, "segments": packed.layout.segments(CPU)}
    output, _ = tree_attention(torch.nn.Module(), query, key, value, None, scaling=0.7, **layout)
    expected = dense(query, key, value, visible(packed, None), 0.7, None)
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)


def test_the_kernel_takes_what_is_given_to_it():
    known = inspect.signature(attention.varlen_attn).parameters
    assert {*inspect.signature(by_definition).parameters} <= {*known}
