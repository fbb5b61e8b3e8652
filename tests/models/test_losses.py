"""The losses against their formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

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


@given(REWARDS, REWARDS, st.floats(-3, 3), st.floats(0, 0.49))
def test_margins_and_smoothed_labels_are_those_of_other_tools(chosen, rejected, margin, smoothing):
    """TRL's RewardTrainer: −ln σ(r⁺ − r⁻ − m); conservative DPO: (1 − ε) and ε of both labels."""
    rewards = [
        torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (chosen, rejected)
    ]
    margins = torch.tensor([margin], dtype=torch.float64)
    z = rewards[0] - rewards[1] - margins
    expected = -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)
    loss = bradley_terry(*rewards, margins, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    slopes = torch.autograd.grad(loss, rewards)
    sigma = 1 / (1 + math.exp(-z.item()))
    by_hand = sigma - (1 - smoothing)  # −(1 − ε)(1 − σ) + εσ
    # softplus is the identity beyond 20, and its slope 1: up to e⁻²⁰ = 2.1e-9 too much.
    assert [slope.item() for slope in slopes] == pytest.approx([by_hand, -by_hand], abs=3e-9)


def test_no_margin_and_no_smoothing_change_no_bit():
    chosen, rejected = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.softplus(rejected - chosen)
    assert torch.equal(bradley_terry(chosen, rejected), plain)
    assert torch.equal(bradley_terry(chosen, rejected, torch.zeros(1000)), plain)


def test_verification_adds_both_answers():
    yes, no = torch.tensor([0.25, 1.0]).log(), torch.tensor([0.5, 0.125]).log()
    assert verification(yes, no).tolist() == pytest.approx([math.log(8), math.log(8)])
