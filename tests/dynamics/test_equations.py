"""Equations 4, 5 and 8 against autograd and real SGD steps, on tiny models of each architecture."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ARCHITECTURES, tiny_config
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewardgap.dynamics.equations import (
    TokenGradients,
    coefficients,
    explicit_change,
    generative_change,
    implicit_change,
    output_probabilities,
    response_means,
    soft_capped,
    step_weight,
    token_contributions,
    token_gradients,
)

YES, NO = 17, 23
BETA = 0.4


@dataclass(frozen=True)
class Sequence:
    """Token ids of a prompt followed by a response."""

    ids: Tensor
    prompt_length: int


def tiny_language_model(architecture: str, final_cap: float | None = None) -> PreTrainedModel:
    torch.manual_seed(3)
    config = tiny_config(architecture)
    config.tie_word_embeddings = False
    config.final_logit_softcapping = final_cap
    model = AutoModelForCausalLM.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.requires_grad_(False)
    return model


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_language_model(request.param)


def sequence(prompt_length: int, response_length: int, seed: int) -> Sequence:
    random = np.random.default_rng(seed)
    ids = random.integers(5, 320, size=prompt_length + response_length)
    return Sequence(torch.from_numpy(ids), prompt_length)


CHOSEN, REJECTED, UNSEEN = sequence(5, 4, 1), sequence(5, 6, 2), sequence(7, 5, 3)


def hidden_states(model: PreTrainedModel, text: Sequence) -> Tensor:
    return model.base_model(text.ids[None]).last_hidden_state[0]


def next_log_probabilities(model: PreTrainedModel, text: Sequence) -> Tensor:
    return model(text.ids[None]).logits[0].log_softmax(-1)


def log_probability(model: PreTrainedModel, text: Sequence) -> Tensor:
    """ln π(y given x) by the model's own forward pass."""
    log_probabilities = next_log_probabilities(model, text)[text.prompt_length - 1 : -1]
    return log_probabilities.gather(1, text.ids[text.prompt_length :, None]).sum()


def yes_log_probability(model: PreTrainedModel, text: Sequence) -> Tensor:
    return next_log_probabilities(model, text)[-1, YES]


def no_log_probability(model: PreTrainedModel, text: Sequence) -> Tensor:
    return next_log_probabilities(model, text)[-1, NO]


def response_gradients(model: PreTrainedModel, text: Sequence) -> TokenGradients:
    hidden = hidden_states(model, text)[text.prompt_length - 1 : -1]
    probabilities = output_probabilities(hidden, model.get_output_embeddings().weight.detach())
    return token_gradients(text.ids[text.prompt_length :], probabilities, hidden)


def verdict_gradient(model: PreTrainedModel, text: Sequence, token: int) -> TokenGradients:
    hidden = hidden_states(model, text)[-1:]
    probabilities = output_probabilities(hidden, model.get_output_embeddings().weight.detach())
    return token_gradients(torch.tensor([token]), probabilities, hidden)


def gradient(value: Tensor, parameter: Tensor) -> Tensor:
    return torch.autograd.grad(value, parameter)[0]


@pytest.fixture
def unembedding(model: PreTrainedModel):
    """U, the only trainable parameter for the length of a test."""
    weight = model.get_output_embeddings().weight.requires_grad_(True)
    initial = weight.detach().clone()
    yield weight
    weight.requires_grad_(False)
    weight.copy_(initial)


# --- eq. 4 ----------------------------------------------------------------------------------------


def last_state(hidden: Tensor, text: Sequence) -> Tensor:
    return hidden[-1]


def mean_state(hidden: Tensor, text: Sequence) -> Tensor:
    return hidden[text.prompt_length :].mean(0)


@pytest.mark.parametrize("represent", [last_state, mean_state])
def test_explicit_change_is_exactly_that_of_an_sgd_step(model, represent):
    rows = [represent(hidden_states(model, text), text) for text in (UNSEEN, CHOSEN, REJECTED)]
    unseen, chosen, rejected = rows
    head = torch.randn(32, dtype=torch.float64, generator=torch.manual_seed(0)).requires_grad_()
    before = (head @ unseen).item()
    weight = step_weight(head.detach() @ chosen, head.detach() @ rejected)
    predicted = explicit_change(unseen[None], chosen, rejected, 0.1 * weight)
    optimizer = torch.optim.SGD([head], lr=0.1)
    (-logsigmoid(head @ chosen - head @ rejected)).backward()
    optimizer.step()
    assert (head @ unseen).item() - before == pytest.approx(predicted.item(), rel=1e-10)


def test_response_means_are_those_of_each_response(model):
    texts = (CHOSEN, REJECTED, UNSEEN)
    states = [hidden_states(model, text)[text.prompt_length :] for text in texts]
    owners = torch.repeat_interleave(torch.tensor([2, 0, 1]), torch.tensor([4, 6, 5]))
    means = response_means(torch.cat(states), owners, 3)
    expected = torch.stack([states[1].mean(0), states[2].mean(0), states[0].mean(0)])
    torch.testing.assert_close(means, expected, rtol=1e-12, atol=0)


def test_a_response_without_tokens_has_no_mean():
    means = response_means(torch.ones(2, 3), torch.tensor([1, 1]), 2)
    assert means[0].isnan().all()
    assert means[1].tolist() == [1, 1, 1]


# --- eqs. 5 and 8: inner products of gradients ----------------------------------------------------


def test_token_contributions_are_inner_products_of_gradients(model, unembedding):
    """Summed over the tokens they are ⟨∇ ln π(ȳ), ∇ ln π(y)⟩ of eq. 5."""
    unseen = gradient(log_probability(model, UNSEEN), unembedding)
    for text in (CHOSEN, REJECTED):
        expected = (unseen * gradient(log_probability(model, text), unembedding)).sum().item()
        pieces = response_gradients(model, UNSEEN), response_gradients(model, text)
        assert token_contributions(*pieces).sum().item() == pytest.approx(expected, rel=1e-9)


def test_generative_change_is_the_inner_product_with_the_gradient_of_equation_7(model, unembedding):
    reward = yes_log_probability(model, UNSEEN).exp()
    loss = -yes_log_probability(model, CHOSEN) - no_log_probability(model, REJECTED)
    expected = -(gradient(reward, unembedding) * gradient(loss, unembedding)).sum()
    predicted = generative_change(
        verdict_gradient(model, UNSEEN, YES),
        reward.detach()[None],
        verdict_gradient(model, CHOSEN, YES),
        verdict_gradient(model, REJECTED, NO),
        learning_rate=1.0,
    )
    assert predicted.tolist() == pytest.approx([expected.item()], rel=1e-9)


def test_soft_capped_logits_have_scaled_residuals():
    model = tiny_language_model("gemma2", final_cap=3.0)
    weight = model.get_output_embeddings().weight.requires_grad_(True)
    hidden = hidden_states(model, UNSEEN)[UNSEEN.prompt_length - 1 : -1]
    logits = model(UNSEEN.ids[None]).logits[0].detach()[UNSEEN.prompt_length - 1 : -1]
    tokens = UNSEEN.ids[UNSEEN.prompt_length :]
    uncapped = token_gradients(tokens, logits.softmax(-1), hidden)
    summed = soft_capped(uncapped, logits, 3.0).residuals.T @ hidden
    expected = gradient(log_probability(model, UNSEEN), weight)
    torch.testing.assert_close(summed, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(uncapped.residuals.T @ hidden, expected, rtol=0.1)


# --- eqs. 5 and 8: real steps ---------------------------------------------------------------------


def implicit_step_error(model: PreTrainedModel, weight: Tensor, beta: float, rate: float) -> float:
    """Return |real − predicted change| of an implicit reward by one SGD step, π ≠ π_ref."""
    texts = (UNSEEN, CHOSEN, REJECTED)
    with torch.no_grad():
        reference = [log_probability(model, text) for text in texts]
        weight += 0.1 * torch.randn(weight.shape, generator=torch.manual_seed(5)).double()

    def rewards() -> list[Tensor]:
        pairs = zip(texts, reference, strict=True)
        return [beta * (log_probability(model, text) - constant) for text, constant in pairs]

    before, chosen, rejected = rewards()
    step = rate * step_weight(chosen.detach(), rejected.detach())
    pieces = [response_gradients(model, text) for text in texts]
    predicted = implicit_change(*pieces, step=step, beta=beta)
    sgd_step(-logsigmoid(chosen - rejected), weight, rate)
    return abs((rewards()[0] - before - predicted).item())


def generative_step_error(model: PreTrainedModel, weight: Tensor, rate: float) -> float:
    """Return |real − predicted change| of P(Yes) by one SGD step of eq. 7."""
    before = yes_log_probability(model, UNSEEN).exp().detach()
    predicted = generative_change(
        verdict_gradient(model, UNSEEN, YES),
        before[None],
        verdict_gradient(model, CHOSEN, YES),
        verdict_gradient(model, REJECTED, NO),
        rate,
    )
    loss = -yes_log_probability(model, CHOSEN) - no_log_probability(model, REJECTED)
    sgd_step(loss, weight, rate)
    return abs((yes_log_probability(model, UNSEEN).exp() - before - predicted).item())


def sgd_step(loss: Tensor, weight: Tensor, rate: float) -> None:
    optimizer = torch.optim.SGD([weight], lr=rate)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def restored(weight: Tensor, initial: Tensor) -> Tensor:
    with torch.no_grad():
        weight.copy_(initial)
    return weight


@pytest.mark.parametrize("beta", [BETA, 1.0])
def test_implicit_error_shrinks_as_the_square_of_the_learning_rate(model, unembedding, beta):
    initial = unembedding.detach().clone()
    errors = [
        implicit_step_error(model, restored(unembedding, initial), beta, rate)
        for rate in (1e-4, 5e-5)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_generative_error_shrinks_as_the_square_of_the_learning_rate(model, unembedding):
    initial = unembedding.detach().clone()
    errors = [
        generative_step_error(model, restored(unembedding, initial), rate) for rate in (1e-4, 5e-5)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


# --- the coefficients ρ and γ ---------------------------------------------------------------------

SIZE = 5
tokens = st.integers(0, SIZE - 1)
distributions = st.lists(st.floats(-12, 12), min_size=SIZE, max_size=SIZE).map(
    lambda logits: torch.tensor([logits], dtype=torch.float64).softmax(-1)
)


def coefficient(token_a: int, first: Tensor, token_b: int, second: Tensor) -> float:
    hidden = torch.ones(1, 2, dtype=torch.float64)
    return coefficients(
        token_gradients(torch.tensor([token_a]), first, hidden),
        token_gradients(torch.tensor([token_b]), second, hidden),
    ).item()


@given(tokens, distributions, tokens, distributions)
def test_rho_has_four_terms_and_lies_within_two(unseen, unseen_probabilities, token, probabilities):
    rho = coefficient(unseen, unseen_probabilities, token, probabilities)
    first, second = unseen_probabilities[0].tolist(), probabilities[0].tolist()
    overlap = sum(a * b for a, b in zip(first, second, strict=True))
    expanded = float(unseen == token) - second[unseen] - first[token] + overlap
    assert rho == pytest.approx(expanded, abs=1e-12)
    assert -2 <= rho <= 2


@given(tokens, distributions, distributions)
def test_rho_is_positive_at_equal_tokens(token, unseen_probabilities, probabilities):
    assert coefficient(token, unseen_probabilities, token, probabilities) > 0


@given(distributions, distributions)
def test_gamma_lies_within_its_bounds(unseen_probabilities, probabilities):
    yes, no = 0, 1
    assert 0 <= coefficient(yes, unseen_probabilities, yes, probabilities) <= 2
    assert -2 <= coefficient(yes, unseen_probabilities, no, probabilities) <= 1


def test_the_bounds_are_reached():
    """Certain of another token: ρ → ±2; the last one certain of Yes against certain of No."""
    almost = torch.full((4, SIZE), 1e-14, dtype=torch.float64)
    almost[torch.arange(4), torch.arange(4)] = 1
    assert coefficient(0, almost[1:2], 0, almost[1:2]) == pytest.approx(2)
    assert coefficient(0, almost[1:2], 1, almost[0:1]) == pytest.approx(-2)
    assert coefficient(0, almost[2:3], 1, almost[2:3]) == pytest.approx(1)


# --- dtypes and mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    hidden = torch.eye(3, dtype=dtype)
    gradients = token_gradients(
        torch.tensor([0, 1, 2]), output_probabilities(hidden, hidden), hidden
    )
    assert token_contributions(gradients, gradients).dtype == dtype
    assert implicit_change(gradients, gradients, gradients, 0.1, 0.5).dtype == dtype
    assert explicit_change(hidden, hidden[0], hidden[1], 0.1).dtype == dtype


def test_the_bias_of_the_output_embedding_enters_the_probabilities():
    probabilities = output_probabilities(
        torch.zeros(1, 2), torch.ones(3, 2), torch.tensor([0.0, 0, 2])
    )
    assert probabilities[0].tolist() == pytest.approx(
        [1 / (2 + np.e**2)] * 2 + [np.e**2 / (2 + np.e**2)]
    )


def test_step_weight_is_the_probability_of_the_wrong_order():
    weights = step_weight(torch.tensor([0.0, np.log(3)]), torch.tensor([0.0, 0.0]))
    assert weights.tolist() == pytest.approx([0.5, 0.25])


def test_mismatched_rows_are_refused():
    with pytest.raises(ValueError, match="2 tokens for 3 rows"):
        token_gradients(torch.tensor([0, 1]), torch.full((3, 4), 0.25), torch.ones(3, 2))
    with pytest.raises(ValueError, match="3 residuals for 2 hidden"):
        TokenGradients(torch.ones(3, 4), torch.ones(2, 2))
    with pytest.raises(ValueError, match="matrices"):
        TokenGradients(torch.ones(3), torch.ones(3))


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(IndexError):
        token_gradients(torch.tensor([4]), torch.full((1, 4), 0.25), torch.ones(1, 2))
