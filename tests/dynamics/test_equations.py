"""Equations 4, 5 and 8 against autograd and real SGD steps, on tiny models of each architecture."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ARCHITECTURES, randomise, tiny_config
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewardgap.dynamics.equations import (
    GradientSums,
    TokenGradients,
    coefficients,
    gradient_kernel,
    residuals,
    reward_changes,
    step_weight,
    token_contributions,
)
from rewardgap.models.language_model import Vocabulary

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
    model = randomise(AutoModelForCausalLM.from_config(config).double()).eval()
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


def token_gradients(tokens: Tensor, hidden: Tensor, unembedding: Tensor) -> TokenGradients:
    return TokenGradients(residuals(tokens, (hidden @ unembedding.T).softmax(-1)), hidden)


def response_gradients(model: PreTrainedModel, text: Sequence) -> TokenGradients:
    hidden = hidden_states(model, text)[text.prompt_length - 1 : -1]
    unembedding = model.get_output_embeddings().weight.detach()
    return token_gradients(text.ids[text.prompt_length :], hidden, unembedding)


def answer_gradient(model: PreTrainedModel, text: Sequence, token: int) -> TokenGradients:
    hidden = hidden_states(model, text)[-1:]
    unembedding = model.get_output_embeddings().weight.detach()
    return token_gradients(torch.tensor([token]), hidden, unembedding)


def head_gradient(state: Tensor) -> TokenGradients:
    return TokenGradients(torch.ones(1, 1, dtype=state.dtype), state[None])


def sums(weight: float, *responses: TokenGradients) -> GradientSums:
    """One value for each response: `weight` times the sum over its tokens."""
    gradients = TokenGradients(
        torch.cat([response.residuals for response in responses]),
        torch.cat([response.hidden for response in responses]),
    )
    owners = [i for i, response in enumerate(responses) for _ in response.hidden]
    weights = torch.full((len(owners),), weight, dtype=gradients.hidden.dtype)
    return GradientSums(gradients, weights, torch.tensor(owners), len(responses))


def change(
    weight: float,
    unseen: TokenGradients,
    chosen: TokenGradients,
    rejected: TokenGradients,
    factors: tuple[Tensor | float, Tensor | float],
    slope: Tensor | float = 1.0,
) -> Tensor:
    """What a step on (x, y⁺, y⁻) adds to the reward of one unseen response, per learning rate."""
    kernel = gradient_kernel(sums(weight, unseen), sums(weight, chosen, rejected))
    slopes = torch.as_tensor(slope, dtype=kernel.dtype).reshape(1)
    pulls = [
        (torch.tensor([i]), torch.as_tensor(factor, dtype=kernel.dtype).reshape(1))
        for i, factor in enumerate(factors)
    ]
    return reward_changes(kernel, slopes, pulls)[0, 0]


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
    gradients = map(head_gradient, (unseen, chosen, rejected))
    predicted = 0.1 * change(1.0, *gradients, factors=(weight, -weight))
    optimizer = torch.optim.SGD([head], lr=0.1)
    (-logsigmoid(head @ chosen - head @ rejected)).backward()
    optimizer.step()
    assert (head @ unseen).item() - before == pytest.approx(predicted.item(), rel=1e-10)


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
    predicted = generative_change(model, reward.detach())
    assert predicted.item() == pytest.approx(expected.item(), rel=1e-9)


def generative_change(model: PreTrainedModel, reward: Tensor) -> Tensor:
    """Eq. 8 per learning rate: Yes is raised for the chosen response, No for the rejected one."""
    return change(
        1.0,
        answer_gradient(model, UNSEEN, YES),
        answer_gradient(model, CHOSEN, YES),
        answer_gradient(model, REJECTED, NO),
        factors=(1.0, 1.0),
        slope=reward,
    )


def test_soft_capped_logits_have_scaled_residuals():
    model = tiny_language_model("gemma2", final_cap=3.0)
    weight = model.get_output_embeddings().weight.requires_grad_(True)
    hidden = hidden_states(model, UNSEEN)[UNSEEN.prompt_length - 1 : -1]
    logits = model(UNSEEN.ids[None]).logits[0].detach()[UNSEEN.prompt_length - 1 : -1]
    tokens = UNSEEN.ids[UNSEEN.prompt_length :]
    by_logit = residuals(tokens, logits.softmax(-1))
    summed = Vocabulary(model).by_product(by_logit, logits).T @ hidden
    expected = gradient(log_probability(model, UNSEEN), weight)
    torch.testing.assert_close(summed, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(by_logit.T @ hidden, expected, rtol=0.1)


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
    weight_of_step = step_weight(chosen.detach(), rejected.detach())
    pieces = [response_gradients(model, text) for text in texts]
    predicted = rate * change(beta, *pieces, factors=(weight_of_step, -weight_of_step))
    sgd_step(-logsigmoid(chosen - rejected), weight, rate)
    return abs((rewards()[0] - before - predicted).item())


def generative_step_error(model: PreTrainedModel, weight: Tensor, rate: float) -> float:
    """Return |real − predicted change| of P(Yes) by one SGD step of eq. 7."""
    before = yes_log_probability(model, UNSEEN).exp().detach()
    predicted = rate * generative_change(model, before)
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
        TokenGradients(residuals(torch.tensor([token_a]), first), hidden),
        TokenGradients(residuals(torch.tensor([token_b]), second), hidden),
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
    gradients = token_gradients(torch.tensor([0, 1, 2]), hidden, hidden)
    assert token_contributions(gradients, gradients).dtype == dtype
    assert change(0.1, gradients, gradients, gradients, factors=(0.5, -0.5)).dtype == dtype


def test_step_weight_is_the_probability_of_the_wrong_order():
    weights = step_weight(torch.tensor([0.0, np.log(3)]), torch.tensor([0.0, 0.0]))
    assert weights.tolist() == pytest.approx([0.5, 0.25])


def test_mismatched_rows_are_refused():
    with pytest.raises(ValueError, match="2 tokens for 3 rows"):
        residuals(torch.tensor([0, 1]), torch.full((3, 4), 0.25))
    with pytest.raises(ValueError, match="3 residuals for 2 hidden"):
        TokenGradients(torch.ones(3, 4), torch.ones(2, 2))
    with pytest.raises(ValueError, match="matrices"):
        TokenGradients(torch.ones(3), torch.ones(3))


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(IndexError):
        residuals(torch.tensor([4]), torch.full((1, 4), 0.25))
