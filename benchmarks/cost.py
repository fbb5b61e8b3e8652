"""How much work is necessary, and how fast this machine multiplies matrices.

Necessary tokens are those that any method must compute: each prompt once, and every response.
Padding, prompts computed again and the reference model of an implicit reward, which never changes,
are not among them.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks.worker import Job, Measurement
from rewardgap.data.trees import Tree

FORWARD, TRAINING = 1, 3  # passes: the gradients of inputs and of weights cost a forward pass each


def necessary_tokens(trees: Sequence[Tree]) -> int:
    """Each prompt once and every response."""
    return sum(tree.size for tree in trees)


def operations(
    model: PreTrainedModel, trees: Sequence[Tree], passes: int, *, predicts: bool
) -> float:
    """Floating-point operations of the matrix products that the necessary tokens need.

    A product with W weights costs 2 W a token; where a head reads the ends of responses, the last
    layer's feed-forward network is needed there alone. Attention costs 4 H d for every pair of a
    token and one that it sees, in each layer (H heads of size d; the scores and the weighted sum).
    A model that `predicts` multiplies the state before every response token with V output
    embeddings.
    Embedding look-ups, norms, softmax and anything that is computed twice are not counted.
    """
    config = model.config.get_text_config()
    tokens = necessary_tokens(trees)
    seen = sum(map(_seen, trees))
    heads = config.num_hidden_layers * config.num_attention_heads * config.head_dim
    forward = 2 * _weights(model.base_model) * tokens + 4 * heads * seen
    if predicts:
        responses = sum(len(tree.nodes[leaf]) for tree in trees for leaf in tree.leaves)
        forward += 2 * config.hidden_size * config.vocab_size * responses
    else:
        unread = tokens - sum(len(tree.leaves) for tree in trees)
        forward -= 2 * _weights(model.base_model.layers[-1].mlp) * unread
    return float(passes * forward)


def _weights(module: nn.Module) -> int:
    return sum(each.weight.numel() for each in module.modules() if isinstance(each, nn.Linear))


def _seen(tree: Tree) -> int:
    """Return the number of pairs of a token and one that it sees, itself included."""
    total = 0
    for node, tokens in enumerate(tree.nodes):
        above = sum(len(tree.nodes[i]) for i in tree.path(node)[:-1])
        total += len(tokens) * above + len(tokens) * (len(tokens) + 1) // 2
    return total


def matrix_product(job: Job) -> Measurement:
    """Measure the fastest of several products of two large square matrices: the machine's peak."""
    size = 8192 if job.device == "cuda" else 2048
    factor = torch.randn(size, size, device=job.device).to(getattr(torch, job.dtype))
    best = min(_seconds(lambda: factor @ factor, job.device) for _ in range(8))
    return Measurement(best, [], operations=2.0 * size**3, threads=torch.get_num_threads())


def seconds_of(work: Callable[[], object], device: str, times: int = 8) -> float:
    """Return the median time of some work, which was done before."""
    return median(_seconds(work, device) for _ in range(times))


def _seconds(work: Callable[[], object], device: str) -> float:
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: str) -> None:
    """Wait for the GPU, where the work is done on one."""
    if device == "cuda":
        torch.cuda.synchronize()
