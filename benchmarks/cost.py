"""How much work is necessary, and how fast this machine multiplies matrices.

Necessary tokens are those that any method must compute: each prompt once, and every response.
Padding, prompts computed again and the reference model of an implicit reward, which never changes,
are not among them.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from benchmarks.worker import Job, Measurement
from rewardgap.data.trees import Tree


def necessary_tokens(trees: Sequence[Tree]) -> int:
    """Each prompt once and every response."""
    return sum(tree.size for tree in trees)


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
