"""The theorems as experiments: hand-derived numbers, autograd and the claims themselves."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rewardgap.configs.forecasting import TheoryConfig
from rewardgap.dynamics.theorems.theorem1 import corollary1, theorem1, verifier, verify
from rewardgap.dynamics.theorems.theorem2 import (
    SingleTokenPairs,
    implicit_margins,
    learning_rate_bound,
    theorem2,
    train_explicit,
    train_implicit,
)
from rewardgap.dynamics.theorems.theory import theory
from rewardgap.errors import UserError

# --- theorem 1 and corollary 1 --------------------------------------------------------------------


def test_theorem1_by_hand():
    """π_ref(C) = 0.1 times 9 over Z = 0.9 + 0.9: the verifier is correct half of the time."""
    margin, beta = 2 * math.log(9), 2.0
    log_reference = np.log([0.1, 0.9])
    correct = np.array([True, False])
    check = verify(log_reference, correct, margin, beta)
    assert check.margin == pytest.approx(margin)
    assert math.exp(check.log_correct) == pytest.approx(0.5)
    assert math.exp(check.log_correct_reference) == pytest.approx(0.1)
    assert math.exp(check.log_bound) == pytest.approx(0.9)
    rewards = beta * (verifier(log_reference, correct, margin, beta) - log_reference)
    assert rewards == pytest.approx([margin - beta * math.log(1.8), -beta * math.log(1.8)])


@given(
    arrays(np.float64, 7, elements=st.floats(-20, 20)),
    arrays(np.bool_, 7),
    st.floats(0.01, 5),
    st.floats(0.01, 5),
)
def test_theorem1_for_any_reference(logits, correct, margin, beta):
    assume(correct.any() and not correct.all())
    log_reference = logits - np.logaddexp.reduce(logits)
    policy = np.exp(verifier(log_reference, correct, margin, beta))
    check = verify(log_reference, correct, margin, beta)
    assert policy.sum() == pytest.approx(1)
    assert policy[correct].sum() == pytest.approx(math.exp(check.log_correct), abs=1e-12)
    assert check.margin == pytest.approx(margin, abs=1e-9)
    assert check.log_correct <= check.log_bound + 1e-9


@pytest.mark.parametrize("correct", [[True, True], [False, False]])
def test_a_task_needs_both_sorts_of_response(correct):
    with pytest.raises(ValueError, match="a correct and an incorrect"):
        verify(np.log([0.5, 0.5]), np.array(correct), 1.0, 1.0)


def test_theorem1_holds_on_random_tasks():
    summary = theorem1(seed=1).summary()
    assert summary["holds"]
    assert np.shape(summary["correct"]) == (40, 4)
    assert (np.array(summary["correct"]) <= np.array(summary["bound"]) + 1e-12).all()


def test_theorem1_notices_a_margin_that_is_not_kept():
    result = theorem1(seed=1)
    broken = replace(result.checks[-1][0], margin=0.0)
    assert not replace(result, checks=(*result.checks[:-1], (broken,) * 4)).summary()["holds"]


def test_corollary1_probabilities_by_hand():
    """e² / (e² + 2ⁿ − 1): one correct response of 2ⁿ, made exp(δ/β) = e² times as likely."""
    result = corollary1(margin=0.2, beta=0.1, longest=9)
    expected = [math.e**2 / (math.e**2 + 2**n - 1) for n in range(1, 10)]
    assert result.summary()["correct"] == pytest.approx(expected)
    assert result.summary()["correct_reference"] == pytest.approx([2.0**-n for n in range(1, 10)])


@pytest.mark.parametrize(("power", "alpha"), [(1, 1.0), (3, 10.0), (6, 1000.0), (6, 0.1)])
def test_corollary1_verifier_stays_below_every_polynomial(power, alpha):
    start = corollary1(longest=2).fails_from(power, alpha)
    lengths = np.arange(start, 1000)
    bound = 2 - lengths * math.log(2)
    assert (bound < -math.log(alpha) - power * np.log(lengths)).all()


def test_corollary1_holds_and_the_reference_fails_before_the_verifier():
    result = corollary1()
    assert result.summary()["holds"]
    flat_reference = replace(result, margin=1e-9)
    assert flat_reference.fails_from(2, 1.0) < result.fails_from(2, 1.0)


# --- theorem 2 ------------------------------------------------------------------------------------


def random_pairs(count: int, seed: int, first: int, last: int) -> SingleTokenPairs:
    """Pairs of tokens from first … last − 1, never equal."""
    random = np.random.default_rng(seed)
    tokens = np.array([random.permutation(np.arange(first, last))[:2] for _ in range(count)])
    return SingleTokenPairs(*random.normal(size=(3, count, 6)), tokens[:, 0], tokens[:, 1])


TRAINING = random_pairs(5, seed=0, first=0, last=4)
EVALUATION = random_pairs(50, seed=1, first=4, last=12)
REFERENCE = np.random.default_rng(2).normal(size=(12, 6))


def test_implicit_training_is_gradient_descent_through_the_whole_softmax():
    """Three steps of torch SGD on β (ln π − ln π_ref), normaliser and all."""
    beta, rate = 0.7, 0.3
    weight = torch.tensor(REFERENCE, requires_grad=True)
    prompts = torch.tensor(TRAINING.prompts)
    tokens = torch.tensor(np.stack([TRAINING.chosen_tokens, TRAINING.rejected_tokens], axis=1))
    reference = (prompts @ weight.detach().T).log_softmax(-1).gather(1, tokens)
    losses = []
    for _ in range(4):
        ratios = beta * ((prompts @ weight.T).log_softmax(-1).gather(1, tokens) - reference)
        loss = -torch.nn.functional.logsigmoid(ratios[:, 0] - ratios[:, 1]).mean()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - rate * gradient).detach().requires_grad_()
    path = train_implicit(TRAINING, EVALUATION, REFERENCE, beta, rate, steps=3)
    assert path.loss == pytest.approx(losses, rel=1e-12)


def test_implicit_margins_are_those_of_the_log_probabilities():
    moved = REFERENCE + np.random.default_rng(3).normal(size=REFERENCE.shape)
    margins = implicit_margins(EVALUATION, moved, REFERENCE, beta=0.5)
    prompts = torch.tensor(EVALUATION.prompts)
    after, before = prompts @ torch.tensor(moved).T, prompts @ torch.tensor(REFERENCE).T
    ratios = after.log_softmax(-1) - before.log_softmax(-1)
    rows = torch.arange(50)
    expected = 0.5 * (
        ratios[rows, EVALUATION.chosen_tokens] - ratios[rows, EVALUATION.rejected_tokens]
    )
    assert margins == pytest.approx(expected.numpy(), abs=1e-12)


def test_tokens_whose_rows_did_not_move_tie_to_the_last_bit():
    moved = REFERENCE.copy()
    moved[:4] += np.random.default_rng(4).normal(size=(4, 6))
    assert (implicit_margins(EVALUATION, moved, REFERENCE, beta=0.5) == 0).all()
    assert (implicit_margins(TRAINING, moved, REFERENCE, beta=0.5) != 0).all()


def test_explicit_training_is_gradient_descent():
    rate, head = 0.2, np.ones(6)
    features = torch.tensor(TRAINING.differences)
    weight = torch.tensor(head, requires_grad=True)
    losses = []
    for _ in range(4):
        loss = -torch.nn.functional.logsigmoid(features @ weight).mean()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weight)
        weight = (weight - rate * gradient).detach().requires_grad_()
    path = train_explicit(TRAINING, EVALUATION, head, rate, steps=3)
    assert path.loss == pytest.approx(losses, rel=1e-12)


def test_learning_rate_bound_by_hand():
    assert learning_rate_bound(2.0, beta=0.5) == pytest.approx(1 / 2)
    assert learning_rate_bound(2.0, beta=4.0) == pytest.approx(1 / 32)


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_learning_rate_bound_is_two_over_the_smoothness(beta):
    """Lemma 2: no curvature of either loss exceeds B² max(β², 1), here at the steepest point 0."""
    smoothness = 2 / learning_rate_bound(TRAINING.largest_norm, beta)
    tokens = np.eye(12)[TRAINING.chosen_tokens] - np.eye(12)[TRAINING.rejected_tokens]
    implicit = beta * np.einsum("nv,nd->nvd", tokens, TRAINING.prompts).reshape(5, -1)
    for features in (TRAINING.differences, implicit):
        assert np.linalg.eigvalsh(features @ features.T / 4 / 5).max() <= smoothness


@pytest.mark.parametrize(("seed", "beta"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0)])
def test_theorem2(seed, beta):
    result = theorem2(seed, beta)
    assert result.rate < result.rate_bound
    for path in (result.explicit, result.implicit):
        assert (np.diff(path.loss) < 0).all()
        assert path.loss[-1] < 0.05
        assert path.training_accuracy[-1] == 1
    assert len(result.implicit.accuracy) == 4001
    assert (result.implicit.accuracy == 0.5).all()
    assert result.explicit.accuracy[0] < result.separator_share < 1
    assert (result.explicit.accuracy[result.reached_at :] >= result.separator_share).all()
    assert result.summary()["holds"]


def test_theorem2_says_where_a_run_is_too_short():
    result = theorem2(seed=0, steps=5)
    assert result.reached_at is None
    assert not result.summary()["holds"]


def test_reached_at_is_the_first_step_of_the_last_stay():
    result = theorem2(seed=0, steps=5)
    accuracy = np.array([0.9, 0.2, 0.8, 0.9, 0.9, 1.0])
    path = replace(result.explicit, accuracy=accuracy)
    assert replace(result, explicit=path, separator_share=0.85).reached_at == 3
    assert replace(result, explicit=path, separator_share=0.1).reached_at == 0


# --- the report -----------------------------------------------------------------------------------


def test_run_theory_writes_its_report_and_pictures(tmp_path):
    report = theory(TheoryConfig(out=str(tmp_path), seed=4))
    assert all(report[name]["holds"] for name in ("theorem1", "corollary1", "theorem2"))
    assert json.loads((tmp_path / "theory.json").read_text()) == json.loads(json.dumps(report))
    names = sorted(path.name for path in (tmp_path).iterdir())
    figures = ("corollary1", "theorem1", "theorem2")
    pictures = [f"{name}.{ending}" for name in figures for ending in ("png", "svg", "pdf")]
    assert names == sorted(["theory.json", *pictures])
    assert (tmp_path / "theorem2.png").read_bytes().startswith(b"\x89PNG")
    again = json.loads(json.dumps(theorem2(seed=4).summary()))
    assert again == json.loads((tmp_path / "theory.json").read_text())["theorem2"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        theory(TheoryConfig(out=str(tmp_path / "file" / "out")))
