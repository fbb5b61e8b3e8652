"""Responses of which not every position is read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from untrained import read, reader_of

from rewardgap.dynamics import last_layer
from rewardgap.forecasting import features


def test_some_positions_of_a_response_represent_all(
    folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of("implicit", folders("llama"))
    seeds = iter(range(10**6))
    original = last_layer.sample_responses

    def measure(positions: int | None, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        monkeypatch.setattr(features, "MOST_POSITIONS", positions)
        monkeypatch.setattr(
            features, "sample_responses", lambda *given: original(*given, seed=seed)
        )
        result = read(reader, "implicit")
        return result.values, result.test_vectors.square().sum(0)

    every, _ = measure(None, next(seeds))
    drawn = [measure(8, seed) for seed in range(60)]
    values = torch.stack([some for some, _ in drawn])
    error = (values - every).square().sum((1, 2)).mean().sqrt()
    assert error > 0.1 * every.norm(), "every position was read"
    assert torch.equal(measure(8, 0)[0], values[0])
    assert (values.mean(0) - every).norm() < 2 * error / 60**0.5
    squares = torch.stack([some.sum() for _, some in drawn])
    expected = torch.stack([measure(None, seed)[1].sum() for seed in range(60)])
    spread = ((squares.var() + expected.var()) / 60) ** 0.5
    assert abs(squares.mean() - expected.mean()) < 3 * spread
