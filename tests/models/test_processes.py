"""Trees divided among processes: all run as many passes, and together they give one result."""

from dataclasses import dataclass, field
from itertools import chain
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.data.trees import Tree
from rewardgap.models.packing import divide_trees, map_trees
from rewardgap.models.processes import ALONE, Processes

CPU = torch.device("cpu")


def tree(size: int) -> Tree:
    return Tree("a", ((0,) * (size - 2), (1,), (2,)), (-1, 0, 0), 1, 1, (1, 1))


@given(
    sizes=st.lists(st.integers(3, 30), min_size=1, max_size=20),
    processes=st.integers(1, 5),
    budget=st.integers(30, 60),
)
def test_all_processes_run_equally_many_passes_and_every_tree_counts_once(sizes, processes, budget):
    trees = [tree(size) for size in sizes]
    plans = divide_trees(trees, processes, budget, CPU)
    assert len(plans) == processes and len({len(plan) for plan in plans}) == 1
    counted = [[i for batch in plan if batch.counts for i in batch.trees] for plan in plans]
    assert sorted(chain.from_iterable(counted)) == list(range(len(trees)))
    for plan in plans:
        assert all(sum(sizes[i] for i in batch.trees) <= budget for batch in plan)
    assert any(all(batch.counts for batch in plan) for plan in plans), "no pass is for nothing"
    tokens = [sum(sizes[i] for i in share) for share in counted]
    assert max(tokens) - min(tokens) <= max(sizes), "work is balanced by tokens"


def test_a_process_with_less_repeats_its_last_pass():
    first, second = divide_trees([tree(30), tree(30), tree(20), tree(10)], 2, 30, CPU)
    assert [(batch.trees, batch.counts) for batch in first] == [([0], True), ([2], True)]
    assert [(batch.trees, batch.counts) for batch in second] == [([1], True), ([3], True)]
    first, second = divide_trees([tree(30)] * 3, 2, 30, CPU)
    assert [(batch.trees, batch.counts) for batch in second] == [([1], True), ([1], False)]
    alone, idle = divide_trees([tree(30)], 2, 30, CPU)
    assert [(batch.trees, batch.counts) for batch in alone] == [([0], True)]
    assert [(batch.trees, batch.counts) for batch in idle] == [([0], False)]


@dataclass(frozen=True)
class Threads(Processes):
    """Threads that exchange values as processes do."""

    values: list[Any] = field(default_factory=list)
    barrier: Barrier | None = None

    def gather(self, value: Any) -> list[Any]:
        assert self.barrier
        self.values[self.rank] = value
        self.barrier.wait(10)
        gathered = list(self.values)
        self.barrier.wait(10)
        return gathered


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_computed_of_every_tree_is_the_same_for_any_number_of_processes(count):
    trees = [tree(size) for size in (9, 3, 30, 12, 5, 30, 4)]
    references = [np.full(2, float(i), np.float32) for i in range(len(trees))]
    results: list[Any] = [None] * count
    passes = [0] * count

    def compute_in(processes: Processes) -> None:
        def compute(batch, members):
            passes[processes.rank] += 1
            values = batch.reference.reshape(len(members), 2)[:, 0].tolist()
            return list(zip(values, (tree.size for tree in members), strict=True))

        results[processes.rank] = map_trees(trees, compute, 40, CPU, "", references, processes)

    values, barrier = [None] * count, Barrier(count)
    threads = [
        Thread(target=compute_in, args=[Threads(rank, count, values=values, barrier=barrier)])
        for rank in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [(float(i), tree.size) for i, tree in enumerate(trees)]
    assert results == [expected] * count
    assert len(set(passes)) == 1, "a process that runs fewer passes than another hangs"
    assert map_trees([], lambda batch, members: [], 40, CPU, "", processes=ALONE) == []
