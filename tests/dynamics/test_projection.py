"""Random projections against gradients written out."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.dynamics import projection as module
from rewardgap.dynamics.descent import KernelTraining
from rewardgap.dynamics.projection import RandomProjection
from rewardgap.errors import UserError

CPU = torch.device("cpu")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fitting(memory: int, entries: int, bytes_per_value: int, most: int = 2**40) -> RandomProjection:
    return RandomProjection.fitting(entries, memory, bytes_per_value, most, seed=0)


def outer(projection: RandomProjection, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(projection.size)
    projection.projector((first.shape[1], second.shape[1]), CPU).outer(total, first, second)
    return total


def by_hand(gradient: np.ndarray, projection: RandomProjection) -> np.ndarray:
    """Entry k of the signed matrix goes to bucket k mod size, one entry at a time."""
    rows, columns = gradient.shape
    projector = projection.projector(gradient.shape, CPU)
    buckets = np.zeros(projection.size)
    for row in range(rows):
        for column in range(columns):
            sign = projector.row_signs[row] * projector.column_signs[column]
            bucket = (row * columns + column) % projection.size
            buckets[bucket] += float(sign) * gradient[row, column]
    return buckets


@pytest.mark.parametrize("size", [5, 11, 47, 53, 54])
@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_entries_are_summed_in_buckets(
    block: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_VALUES", block)
    first, second = normal(4, 9, seed=0), normal(4, 6, seed=1)
    projection = RandomProjection(size, entries=54, seed=3)
    expected = by_hand((first.T @ second).numpy(), projection)
    np.testing.assert_allclose(outer(projection, first, second), expected, atol=1e-5)


@pytest.mark.parametrize("size", [11, 54])
def test_few_rows_are_those_of_the_whole_matrix(size: int) -> None:
    rows, values = torch.tensor([5, 0, 5]), normal(3, 6, seed=0)
    one_hot = torch.nn.functional.one_hot(rows, 9).float()
    projection = RandomProjection(size, entries=54, seed=0)
    total = torch.zeros(size)
    projection.projector((9, 6), CPU).rows(total, rows, values)
    torch.testing.assert_close(total, outer(projection, one_hot, values))


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
        projection = RandomProjection(size, 1200, draw)
        estimate = outer(projection, a[0], h[0]) @ outer(projection, b[0], k[0])
        errors.append((float(estimate) - exact) / scale)
    error = (2 / size - 2 / 1200) ** 0.5
    assert error == pytest.approx(projection.error)
    assert abs(np.mean(errors)) < 4 * error / draws**0.5
    assert 0.4 * error < np.std(errors) < 1.6 * error


def test_a_projection_to_all_entries_is_exact() -> None:
    first, second = normal(4, 9, seed=0), normal(4, 6, seed=1)
    further = normal(2, 9, seed=2), normal(2, 6, seed=3)
    projection = fitting(2**20, entries=54, bytes_per_value=10)
    assert projection.size == 54 and projection.noise == 0
    product = outer(projection, first, second) @ outer(projection, *further)
    torch.testing.assert_close(product, ((first.T @ second) * (further[0].T @ further[1])).sum())


@given(st.integers(10, 2**34), st.integers(10, 10**9), st.integers(1, 10**5), st.integers(1, 10**5))
@settings(max_examples=100, deadline=None)
def test_projections_fill_the_memory_and_no_more(
    memory: int, entries: int, bytes_per_value: int, pays: int
) -> None:
    most = min(entries, memory // bytes_per_value, pays)
    try:
        projection = fitting(memory, entries, bytes_per_value, pays)
    except UserError:
        assert most < min(211, entries)  # no prime lies between 199 and that
        return
    assert projection.size <= most
    assert projection.size > most - 300  # there is a prime within that of any number of this size
    assert projection.error <= 0.1


@pytest.mark.parametrize("memory", [2000, 100])
def test_too_little_memory_is_refused_with_what_is_enough(memory: int) -> None:
    with pytest.raises(UserError, match="raise --memory to") as refusal:
        fitting(memory, entries=5000, bytes_per_value=20, most=300)
    found = re.search(r"holds (\d+) .* err by (\d+)% .* raise --memory to ([\d.e-]+)", str(refusal))
    assert found and int(found[1]) <= max(2, memory // 20)
    error = (2 / int(found[1]) - 2 / 5000) ** 0.5
    assert int(found[2]) == round(100 * error)
    enough = int(float(found[3]) * 2**30)
    assert fitting(enough, entries=5000, bytes_per_value=20, most=300).error <= 0.1


def test_seeds_repeat_signs() -> None:
    def signs(seed: int) -> list[float]:
        return RandomProjection(5, 20, seed).projector((8, 8), CPU).row_signs.tolist()

    assert signs(0) == signs(0) != signs(1)


def test_the_log_partition_is_right_on_average_over_projections() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(45, 3000)) + 0.35 * random.normal(size=3000)  # 5 rows, 40 tested
    weights = np.concatenate([np.ones(5), np.zeros(40)])
    direction, tested = weights @ vectors, vectors[5:]
    true = ((tested @ direction) ** 2).sum() / 7
    found, raw = [], []
    for seed in range(200):
        projection = RandomProjection(211, 3000, seed)
        one = torch.ones(1, 1)
        short = np.stack([outer(projection, one, torch.from_numpy(v)[None]) for v in vectors])
        kernel = short.astype(float) @ short.T
        noise = projection.noise * kernel.diagonal()[5:].sum()
        training = KernelTraining(kernel, np.zeros(5), np.ones(5), 7.0, noise, np.ones(5))
        found.append(training.variance(weights, kernel @ weights))
        raw.append(replace(training, noise=0.0).variance(weights, kernel @ weights))
    error = np.std(found) / len(found) ** 0.5
    assert error < 0.05 * true
    assert abs(np.mean(found) - true) < 3 * error
    assert np.mean(raw) > true + 6 * error
