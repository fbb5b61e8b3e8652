"""Features of responses of which not every place is looked at."""

from collections.abc import Callable
from pathlib import Path

import torch
from readouts import DATA, EXACT, make_readout, read

from rewardgap.forecasting.last_layer import last_layer_passes


def test_some_places_of_a_response_stand_for_all(folders: Callable[..., Path]) -> None:
    readout = make_readout("implicit", folders("llama"))

    def features(places: int | None, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        readout.most_places, readout.seed = places, seed
        (over,) = last_layer_passes({"implicit": readout}, EXACT, DATA)
        found = read(over, "implicit")
        return found.values, found.probes.square().sum(0)

    every, _ = features(None, 0)
    drawn = [features(8, seed) for seed in range(60)]
    values = torch.stack([some for some, _ in drawn])
    error = (values - every).square().sum((1, 2)).mean().sqrt()
    assert error > 0.1 * every.norm(), "every place was looked at"
    assert torch.equal(features(8, 0)[0], values[0])
    assert (values.mean(0) - every).norm() < 2 * error / 60**0.5
    squares = torch.stack([some.sum() for _, some in drawn])
    expected = torch.stack([features(None, seed)[1].sum() for seed in range(60)])
    spread = ((squares.var() + expected.var()) / 60) ** 0.5
    assert abs(squares.mean() - expected.mean()) < 3 * spread
