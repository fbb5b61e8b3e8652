"""The losses against their formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.models.losses import bradley_terry, verification

REWARDS = st.floats(-30, 30)


@given(REWARDS, REWARDS)
def test_bradley_terry_is_minus_the_log_probability_of_the_preference(chosen, rejected):
    loss = bradley_terry(*(torch.tensor([x], dtype=torch.float64) for x in (chosen, rejected)))
    expected = -math.log(1 / (1 + math.exp(rejected - chosen)))
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_equal_rewards_cost_ln_2():
    assert bradley_terry(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_bradley_terry_neither_overflows_nor_loses_its_gradient():
    chosen = torch.tensor([-2000.0, 2000.0], requires_grad=True)
    loss = bradley_terry(chosen, torch.zeros(2))
    assert loss.tolist() == [2000.0, 0.0]
    loss.sum().backward()
    assert chosen.grad.tolist() == [-1.0, 0.0]


def test_verification_adds_both_answers():
    yes, no = torch.tensor([0.25, 1.0]).log(), torch.tensor([0.5, 0.125]).log()
    assert verification(yes, no).tolist() == pytest.approx([math.log(8), math.log(8)])
