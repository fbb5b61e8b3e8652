"""Adam with the second moments of larger batches, against torch's and against larger batches."""

import pytest
import torch

from rewardgap.training.adam import SteadyAdam


def descend(adam: torch.optim.Adam, weights: torch.Tensor, gradients: torch.Tensor) -> None:
    for gradient in gradients:
        weights.grad = gradient.clone()
        adam.step()


def test_without_larger_batches_it_is_adam() -> None:
    gradients = torch.randn(20, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    steady, plain = (torch.zeros(7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    descend(SteadyAdam([steady], 0.1, 1), steady, gradients)
    descend(torch.optim.Adam([plain], lr=0.1), plain, gradients)
    torch.testing.assert_close(steady, plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("ratio", [4, 16])
def test_a_small_batch_moves_as_far_as_a_large_one(ratio: int) -> None:
    """Gradients of mean 1 and deviation 4: alone, Adam covers less than two thirds of the way."""
    generator = torch.manual_seed(0)
    gradients = 1 + 4 * torch.randn(400, ratio, 500, dtype=torch.float64, generator=generator)
    ways = []
    for make, batch in (
        (lambda w: torch.optim.Adam([w], lr=0.1), gradients.mean(1)),
        (lambda w: SteadyAdam([w], 0.1, ratio), gradients[:, 0]),
        (lambda w: torch.optim.Adam([w], lr=0.1), gradients[:, 0]),
    ):
        weights = torch.zeros(500, dtype=torch.float64, requires_grad=True)
        descend(make(weights), weights, batch)
        ways.append(-weights.detach().mean().item())
    large, steady, small = ways
    assert steady == pytest.approx(large, rel=0.08)
    assert small < 0.67 * large
