"""The first step of Adam against torch's own, and its slope against autograd."""

import pytest
import torch

from rewardgap.dynamics.adam import first_step, first_step_slope

GRADIENTS = torch.tensor(  # of four pairs, by five weights
    [[1, -2, 0, 1e-3, 3], [1, 2, 0, 2e-3, -1], [1, 5, 0, 0, 2], [1, -1, 0, 1e-3, 4]],
    dtype=torch.float64,
)
MEAN, SQUARES = GRADIENTS.mean(0), GRADIENTS.square().mean(0)


def test_a_batch_of_all_pairs_takes_the_step_of_torch():
    weights = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=1.0)
    weights.grad = MEAN.clone()
    adam.step()
    # The larger the batch, the nearer its gradient is to the mean.
    torch.testing.assert_close(
        first_step(MEAN, SQUARES, 10**9), -weights.detach(), rtol=1e-5, atol=0
    )


def test_a_small_batch_is_damped_where_pairs_disagree():
    step = first_step(MEAN, SQUARES, 1)
    torch.testing.assert_close(step[[0, 1, 2]], torch.tensor([1, 1 / 8.5**0.5, 0]).double())


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_slope_is_that_of_autograd(batch_size):
    moving = torch.tensor([0, 1, 3, 4])
    mean = MEAN[moving].clone().requires_grad_()
    first_step(mean, SQUARES[moving], batch_size).sum().backward()
    slope = first_step_slope(MEAN, SQUARES, batch_size)
    torch.testing.assert_close(slope[moving], mean.grad)
    assert slope[2].isfinite()  # no pair has a gradient there to be multiplied with


def test_where_all_pairs_agree_none_matters_to_a_large_batch():
    slope = first_step_slope(MEAN, SQUARES, 10**6)
    assert slope[0] * MEAN[0] == pytest.approx(1e-6, rel=0.02)
