"""Which records each optimiser step learns from, as a function of the seed alone."""

from collections.abc import Sequence

import numpy as np

from rewardgap.trees import Tree


def plan_steps(trees: Sequence[Tree], batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of the records of every optimiser step of a run.

    Each epoch visits every record once, in an order drawn from (seed, epoch). A step takes records
    while they hold at most `batch_size` pairs, and always at least one; the last step of an epoch
    may be smaller. Nothing is remembered between steps, so that a resumed run needs only a number.

    Args:
        trees: the training records.
        batch_size: pairs a step.
        epochs: passes over the records.
        seed: of the run.
    """
    pairs = [tree.chosen * tree.rejected for tree in trees]
    steps: list[list[int]] = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(trees)).tolist()
        room = 0
        for i in order:
            if i == order[0] or pairs[i] > room:
                steps.append([])
                room = batch_size
            steps[-1].append(i)
            room -= pairs[i]
    return steps
