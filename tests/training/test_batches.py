"""The order of the data: every record once an epoch, a function of seed and step alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.training import batches as module
from rewardgap.training.batches import BatchSampler

several = st.lists(st.integers(1, 12), min_size=1, max_size=30)
alike = st.builds(lambda count, records: [count] * records, st.integers(1, 12), st.integers(1, 30))
counts = several | alike
plans = st.tuples(counts, st.integers(1, 12), st.integers(1, 3))


def one_by_one(pairs: list[int], batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """The same steps, all at once and from numpy's own permutation."""
    steps: list[list[int]] = []
    for epoch in range(epochs):
        held = batch_size + 1  # the epoch begins with a step of its own
        for i in np.random.default_rng([seed, epoch]).permutation(len(pairs)).tolist():
            if held + pairs[i] > batch_size:
                steps.append([])
                held = 0
            steps[-1].append(i)
            held += pairs[i]
    return steps


@given(plan=plans, seed=st.integers(0, 2**32))
def test_every_epoch_visits_every_record_once_in_steps_of_the_batch_size(plan, seed):
    pairs, batch_size, epochs = plan
    steps = list(BatchSampler(pairs, batch_size, epochs, seed))
    assert all(steps)
    for step in steps:
        assert sum(pairs[i] for i in step) <= batch_size or len(step) == 1
    visited = [i for step in steps for i in step]
    for epoch in range(epochs):
        turn = visited[epoch * len(pairs) : (epoch + 1) * len(pairs)]
        assert sorted(turn) == list(range(len(pairs)))
    # No step could have taken the record that the next one begins with, but where an epoch ends.
    ends = set(np.cumsum([len(pairs)] * epochs).tolist())
    seen = 0
    for step, following in itertools.pairwise(steps):
        seen += len(step)
        full = sum(pairs[i] for i in step) + pairs[following[0]] > batch_size
        assert full or seen in ends


@given(plan=plans, seed=st.integers(0, 2**32), data=st.data())
def test_any_step_is_had_from_its_number(plan, seed, data):
    pairs, batch_size, epochs = plan
    expected = one_by_one(pairs, batch_size, epochs, seed)
    steps = BatchSampler(pairs, batch_size, epochs, seed)
    assert len(steps) == len(expected)
    asked = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=5))
    assert [steps[step] for step in asked] == [expected[step] for step in asked]
    assert steps.epochs_done(len(steps)) == epochs
    with pytest.raises(IndexError):
        steps[len(steps)]


@given(plan=plans)
def test_records_are_looked_at_in_blocks_without_a_seam(plan):
    pairs, batch_size, epochs = plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 3)
        assert list(BatchSampler(pairs, batch_size, epochs, 0)) == one_by_one(
            pairs, batch_size, epochs, 0
        )


@given(plan=plans, most=st.integers(1, 40))
def test_a_run_may_end_before_its_epochs(plan, most):
    whole, short = BatchSampler(*plan, 0), BatchSampler(*plan, 0, most)
    assert list(short) == list(whole)[:most]
    assert short.epochs_done(1) == whole.epochs_done(1)


@given(seed=st.integers(0, 2**31), other=st.integers(0, 2**31))
def test_the_order_depends_on_the_seed_and_on_the_epoch(seed, other):
    steps = list(BatchSampler([1] * 50, 1, 2, seed))
    assert steps[:50] != steps[50:]
    assert (list(BatchSampler([1] * 50, 1, 2, other)) == steps) == (seed == other)
