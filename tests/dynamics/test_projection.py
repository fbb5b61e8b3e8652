"""Sketches against gradients written out."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.dynamics import projection as module
from rewardgap.dynamics.descent import Training
from rewardgap.dynamics.projection import Limits, Sketch
from rewardgap.errors import UserError

CPU = torch.device("cpu")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outer(sketch: Sketch, start: int, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(sketch.size)
    sketch.keeper((first.shape[1], second.shape[1]), start, CPU).outer(total, first, second)
    return total


def by_hand(gradient: np.ndarray, sketch: Sketch, start: int) -> np.ndarray:
    """Entry k of the signed matrix goes to bucket start + k mod size, one entry at a time."""
    rows, columns = gradient.shape
    keeper = sketch.keeper(gradient.shape, start, CPU)
    buckets = np.zeros(sketch.size)
    for row in range(rows):
        for column in range(columns):
            sign = keeper.row_signs[row] * keeper.column_signs[column]
            bucket = (start + row * columns + column) % sketch.size
            buckets[bucket] += float(sign) * gradient[row, column]
    return buckets


@pytest.mark.parametrize("size", [11, 47, 53, 61, 83, 150])
@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_entries_are_summed_in_buckets(
    block: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_VALUES", block)
    first, second = normal(4, 9, seed=0), normal(4, 6, seed=1)
    sketch = Sketch(size, entries=150, seed=3)
    expected = by_hand((first.T @ second).numpy(), sketch, start=60)
    np.testing.assert_allclose(outer(sketch, 60, first, second), expected, atol=1e-5)


@pytest.mark.parametrize("size", [11, 100])
def test_few_rows_are_those_of_the_whole_matrix(size: int) -> None:
    rows, values = torch.tensor([5, 0, 5]), normal(3, 6, seed=0)
    one_hot = torch.nn.functional.one_hot(rows, 9).float()
    sketch = Sketch(size, entries=100, seed=0)
    total = torch.zeros(size)
    sketch.keeper((9, 6), 46, CPU).rows(total, rows, values)
    torch.testing.assert_close(total, outer(sketch, 46, one_hot, values))


@given(st.integers(0, 10_000), st.sampled_from([101, 701]))
@settings(max_examples=20, deadline=None)
def test_products_are_right_on_average_with_the_stated_error(seed: int, size: int) -> None:
    draws = 300
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(2, 3, 40, generator=generator) for _ in range(2))  # 3 tokens, 40 rows
    h, k = (torch.randn(2, 3, 30, generator=generator) for _ in range(2))
    gradients = [left[0].T @ right[0] for left, right in ((a, h), (b, k))]
    exact = float((gradients[0] * gradients[1]).sum())
    scale = float(gradients[0].norm() * gradients[1].norm())
    errors = []
    for draw in range(draws):
        sketch = Sketch(size, 1200, draw)
        estimate = outer(sketch, 0, a[0], h[0]) @ outer(sketch, 0, b[0], k[0])
        errors.append((float(estimate) - exact) / scale)
    error = (2 / size - 2 / 1200) ** 0.5
    assert error == pytest.approx(sketch.error)
    assert abs(np.mean(errors)) < 4 * error / draws**0.5
    assert 0.4 * error < np.std(errors) < 1.6 * error


def test_a_sketch_of_all_entries_is_exact() -> None:
    first, second = normal(4, 9, seed=0), normal(4, 6, seed=1)
    others = normal(2, 9, seed=2), normal(2, 6, seed=3)
    sketch = Limits(2**20, 0).sketch(entries=100, bytes_per_value=10)
    assert sketch.size == 100 and sketch.noise == 0
    found = outer(sketch, 46, first, second) @ outer(sketch, 46, *others)
    torch.testing.assert_close(found, ((first.T @ second) * (others[0].T @ others[1])).sum())


@given(st.integers(10, 2**34), st.integers(10, 10**9), st.integers(1, 10**5), st.integers(1, 10**5))
@settings(max_examples=100, deadline=None)
def test_sketches_fill_the_memory_and_no_more(
    memory: int, entries: int, bytes_per_value: int, pays: int
) -> None:
    most = min(entries, memory // bytes_per_value, pays)
    try:
        sketch = Limits(memory, 0).sketch(entries, bytes_per_value, pays)
    except UserError:
        assert most < min(211, entries)  # no prime lies between 199 and that
        return
    assert sketch.size <= most
    assert sketch.size > most - 300  # there is a prime within that of any number of this size
    assert sketch.error <= 0.1


@pytest.mark.parametrize("memory", [2000, 100])
def test_too_little_memory_is_refused_with_what_is_enough(memory: int) -> None:
    with pytest.raises(UserError, match="raise --memory to") as refusal:
        Limits(memory, 0).sketch(entries=5000, bytes_per_value=20, pays=300)
    found = re.search(r"holds (\d+) .* err by (\d+)% .* raise --memory to ([\d.e-]+)", str(refusal))
    assert found and int(found[1]) <= max(2, memory // 20)
    error = (2 / int(found[1]) - 2 / 5000) ** 0.5
    assert int(found[2]) == round(100 * error)
    enough = Limits(int(float(found[3]) * 2**30), 0)
    assert enough.sketch(entries=5000, bytes_per_value=20, pays=300).error <= 0.1


def test_matrices_have_signs_of_their_own_and_seeds_repeat_them() -> None:
    def signs(seed: int, start: int) -> list[float]:
        return Sketch(5, 20, seed).keeper((8, 8), start, CPU).row_signs.tolist()

    assert signs(0, 1) == signs(0, 1)
    assert len({tuple(signs(seed, start)) for seed in (0, 1) for start in (0, 64)}) == 4


def test_drift_is_right_on_average_over_sketches() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(45, 3000)) + 0.35 * random.normal(size=3000)  # 5 rows, 40 probes
    weights = np.concatenate([np.ones(5), np.zeros(40)])
    direction, probes = weights @ vectors, vectors[5:]
    true = ((probes @ direction) ** 2).sum() / 7
    found, raw = [], []
    for seed in range(200):
        sketch = Sketch(211, 3000, seed)
        one = torch.ones(1, 1)
        short = np.stack([outer(sketch, 0, one, torch.from_numpy(v)[None]) for v in vectors])
        kernel = short.astype(float) @ short.T
        noise = sketch.noise * kernel.diagonal()[5:].sum()
        training = Training(kernel, np.zeros(5), np.ones(5), 7.0, noise, np.ones(5))
        found.append(training.drift(weights, kernel @ weights))
        raw.append(replace(training, noise=0.0).drift(weights, kernel @ weights))
    error = np.std(found) / len(found) ** 0.5
    assert error < 0.05 * true
    assert abs(np.mean(found) - true) < 3 * error
    assert np.mean(raw) > true + 6 * error
