"""Pairwise kernels against gradients written out as V × D matrices, and against real steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewardgap.dynamics.equations import (
    GradientSums,
    TokenGradients,
    gradient_kernel,
    residuals,
    step_weight,
)

VOCABULARY, WIDTH = 11, 4
YES, NO = 2, 7
BETA = 0.3


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


UNEMBEDDING = normal(VOCABULARY, WIDTH, seed=0)


def token_gradients(tokens: Tensor, hidden: Tensor) -> TokenGradients:
    return TokenGradients(residuals(tokens, (hidden @ UNEMBEDDING.T).softmax(-1)), hidden)


def stack(*parts: tuple[TokenGradients, Tensor]) -> GradientSums:
    """The sums whose n-th is made of the n-th token of every part, with its weight."""
    count = len(parts[0][1])
    tokens = TokenGradients(
        torch.cat([part.residuals for part, _ in parts]),
        torch.cat([part.hidden for part, _ in parts]),
    )
    owners = torch.arange(count).repeat(len(parts))
    return GradientSums(tokens, torch.cat([weights for _, weights in parts]), owners, count)


class Responses:
    """Ragged pairs: tokens of all responses, the pair of each and whether it is chosen."""

    def __init__(self, lengths: list[tuple[int, int]], seed: int) -> None:
        flat = torch.tensor(lengths).flatten()
        self.count = len(lengths)
        self.responses = torch.repeat_interleave(torch.arange(len(flat)), flat)
        self.hidden = normal(len(self.responses), WIDTH, seed=seed)
        generator = torch.manual_seed(seed)
        self.tokens = torch.randint(VOCABULARY, (len(self.responses),), generator=generator)
        self.pairs, self.is_chosen = self.responses // 2, self.responses % 2 == 0

    def gradients(self) -> TokenGradients:
        return token_gradients(self.tokens, self.hidden)

    def pair_gradients(self) -> GradientSums:
        weights = BETA * (2 * self.is_chosen.double() - 1)
        return GradientSums(self.gradients(), weights, self.pairs, self.count)

    def margins(self, unembedding: Tensor) -> Tensor:
        """β ln π(y⁺) − β ln π(y⁻) of every pair; the reference is constant and left out."""
        log_probabilities = (self.hidden @ unembedding.T).log_softmax(-1)
        chosen = log_probabilities.gather(1, self.tokens[:, None])[:, 0]
        signed = BETA * torch.where(self.is_chosen, chosen, -chosen)
        return torch.stack([signed[self.pairs == pair].sum() for pair in range(self.count)])


TRAINING = Responses([(3, 5), (1, 1), (4, 2)], seed=1)
EVALUATION = Responses([(2, 2), (6, 1)], seed=2)


def jacobian(values, unembedding: Tensor = UNEMBEDDING) -> Tensor:
    """(count, V·D) gradients of vector-valued `values` by autograd."""
    return torch.autograd.functional.jacobian(values, unembedding).flatten(1)


def test_implicit_kernel_is_the_gram_matrix_of_gradients():
    kernel = gradient_kernel(EVALUATION.pair_gradients(), TRAINING.pair_gradients())
    expected = jacobian(EVALUATION.margins) @ jacobian(TRAINING.margins).T
    torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("block_tokens", [1, 3, 7])
def test_blocks_do_not_change_the_kernel(block_tokens):
    sums = EVALUATION.pair_gradients(), TRAINING.pair_gradients()
    whole, parts = gradient_kernel(*sums), gradient_kernel(*sums, block_tokens=block_tokens)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-15)


def test_order_of_tokens_does_not_matter():
    sums = TRAINING.pair_gradients()
    order = torch.randperm(len(sums.weights), generator=torch.manual_seed(0))
    tokens = TokenGradients(sums.tokens.residuals[order], sums.tokens.hidden[order])
    shuffled = GradientSums(tokens, sums.weights[order], sums.owners[order], sums.count)
    expected = gradient_kernel(EVALUATION.pair_gradients(), sums)
    kernel = gradient_kernel(EVALUATION.pair_gradients(), shuffled, block_tokens=4)
    torch.testing.assert_close(kernel, expected, rtol=1e-12, atol=1e-15)


def test_kernel_of_pairs_follows_from_that_of_responses():
    rewards = [
        GradientSums(data.gradients(), BETA * weights, data.responses, 2 * data.count)
        for data in (EVALUATION, TRAINING)
        for weights in [torch.ones(len(data.tokens), dtype=torch.float64)]
    ]
    kernel = gradient_kernel(*rewards)
    kernel = kernel[0::2] - kernel[1::2]  # responses alternate between chosen and rejected
    kernel = kernel[:, 0::2] - kernel[:, 1::2]
    expected = gradient_kernel(EVALUATION.pair_gradients(), TRAINING.pair_gradients())
    torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-14)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=4))
def test_training_kernel_is_symmetric_and_positive_semidefinite(lengths):
    sums = Responses(lengths, seed=4).pair_gradients()
    kernel = gradient_kernel(sums, sums, block_tokens=3)
    torch.testing.assert_close(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-10


def test_a_quantity_without_tokens_has_no_kernel():
    kernel = gradient_kernel(
        Responses([(0, 0), (1, 2)], seed=5).pair_gradients(), TRAINING.pair_gradients()
    )
    assert kernel[0].tolist() == [0, 0, 0]
    assert kernel[1].abs().min() > 0


def test_a_step_of_the_mean_loss_moves_margins_by_the_kernel():
    """Δ = η/N Σ_j g_j K_·j up to O(η²), for pairs with rewards that are not zero."""
    kernel = gradient_kernel(EVALUATION.pair_gradients(), TRAINING.pair_gradients())
    margins = TRAINING.margins(UNEMBEDDING)
    errors = []
    for rate in (1e-3, 5e-4):
        weight = UNEMBEDDING.clone().requires_grad_()
        (-logsigmoid(TRAINING.margins(weight)).mean()).backward()
        with torch.no_grad():
            moved = EVALUATION.margins(weight - rate * weight.grad)
        predicted = rate / 3 * kernel @ step_weight(margins, torch.zeros(3))
        errors.append((moved - EVALUATION.margins(UNEMBEDDING) - predicted).norm())
    assert (errors[0] / errors[1]).item() == pytest.approx(4, rel=0.1)


def test_a_step_of_the_mean_loss_moves_explicit_margins_exactly():
    training, evaluation = normal(5, WIDTH, seed=6), normal(3, WIDTH, seed=7)
    head = normal(WIDTH, seed=8).requires_grad_()
    before = (training @ head).detach()
    (-logsigmoid(training @ head).mean()).backward()
    change = evaluation @ (-0.5 * head.grad)
    features = (
        stack(
            (
                TokenGradients(torch.ones(len(rows), 1).double(), rows),
                torch.ones(len(rows)).double(),
            )
        )
        for rows in (evaluation, training)
    )
    predicted = 0.5 / 5 * gradient_kernel(*features) @ step_weight(before, 0 * before)
    torch.testing.assert_close(predicted, change, rtol=1e-10, atol=0)


# --- generative -----------------------------------------------------------------------------------


class Verifications:
    """Hidden states at the end of the verification prompts of pairs."""

    def __init__(self, count: int, seed: int) -> None:
        self.chosen, self.rejected = normal(2, count, WIDTH, seed=seed)

    def margins(self, unembedding: Tensor) -> Tensor:
        chosen = (self.chosen @ unembedding.T).softmax(-1)
        return chosen[:, YES] - (self.rejected @ unembedding.T).softmax(-1)[:, YES]

    def log_odds_margins(self, unembedding: Tensor) -> Tensor:
        chosen, rejected = self.chosen @ unembedding.T, self.rejected @ unembedding.T
        return (chosen - rejected)[:, YES] - (chosen - rejected)[:, NO]

    def losses(self, unembedding: Tensor) -> Tensor:
        """Eq. 7 of every pair."""
        yes = (self.chosen @ unembedding.T).log_softmax(-1)[:, YES]
        return -yes - (self.rejected @ unembedding.T).log_softmax(-1)[:, NO]

    def margin_gradients(self) -> GradientSums:
        chosen, rejected = (
            (hidden @ UNEMBEDDING.T).softmax(-1)[:, YES] for hidden in (self.chosen, self.rejected)
        )
        return stack((answer(self.chosen, YES), chosen), (answer(self.rejected, YES), -rejected))

    def log_odds_gradients(self) -> GradientSums:
        ones = torch.ones(len(self.chosen), dtype=torch.float64)
        chosen = (answer(self.chosen, YES), ones), (answer(self.chosen, NO), -ones)
        rejected = (answer(self.rejected, YES), -ones), (answer(self.rejected, NO), ones)
        return stack(*chosen, *rejected)

    def steps(self) -> GradientSums:
        ones = torch.ones(len(self.chosen), dtype=torch.float64)
        return stack((answer(self.chosen, YES), ones), (answer(self.rejected, NO), ones))


def answer(hidden: Tensor, token: int) -> TokenGradients:
    return token_gradients(torch.full((len(hidden),), token), hidden)


SEEN, UNSEEN = Verifications(3, seed=9), Verifications(2, seed=10)


def test_generative_kernel_is_the_gram_matrix_of_gradients():
    kernel = gradient_kernel(UNSEEN.margin_gradients(), SEEN.steps())
    expected = -jacobian(UNSEEN.margins) @ jacobian(SEEN.losses).T
    torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-14)


def test_a_step_moves_log_odds_exactly_by_the_kernel():
    kernel = gradient_kernel(UNSEEN.log_odds_gradients(), SEEN.steps())
    descent = -jacobian(SEEN.losses).mean(0).view_as(UNEMBEDDING)
    after = UNSEEN.log_odds_margins(UNEMBEDDING + 0.7 * descent)
    change = after - UNSEEN.log_odds_margins(UNEMBEDDING)
    torch.testing.assert_close(change, 0.7 * kernel.mean(1), rtol=1e-10, atol=1e-14)


def test_the_likelihood_term_adds_its_kernel():
    """Eq. 7 with − λ ln π(y⁺ given x): its steps are those of the answers and of the tokens."""
    penalty, kept = 0.2, TRAINING.is_chosen

    def losses(unembedding: Tensor) -> Tensor:
        log_probabilities = (TRAINING.hidden @ unembedding.T).log_softmax(-1)
        chosen = log_probabilities.gather(1, TRAINING.tokens[:, None])[:, 0] * kept
        sums = torch.stack([chosen[TRAINING.pairs == pair].sum() for pair in range(3)])
        return SEEN.losses(unembedding) - penalty * sums

    tokens = TRAINING.gradients()
    chosen = TokenGradients(tokens.residuals[kept], tokens.hidden[kept])
    ones = torch.ones(len(chosen.hidden), dtype=torch.float64)
    likelihood = GradientSums(chosen, ones, TRAINING.pairs[kept], 3)
    margins = UNSEEN.margin_gradients()
    kernel = gradient_kernel(margins, SEEN.steps()) + penalty * gradient_kernel(margins, likelihood)
    expected = -jacobian(UNSEEN.margins) @ jacobian(losses).T
    torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-14)


def test_float32_stays_float32_and_close():
    sums = EVALUATION.pair_gradients(), TRAINING.pair_gradients()
    single = [
        GradientSums(
            TokenGradients(item.tokens.residuals.float(), item.tokens.hidden.float()),
            item.weights.float(),
            item.owners,
            item.count,
        )
        for item in sums
    ]
    kernel = gradient_kernel(*single)
    assert kernel.dtype == torch.float32
    torch.testing.assert_close(kernel.double(), gradient_kernel(*sums), rtol=1e-4, atol=1e-5)


def test_every_token_needs_a_weight_and_an_owner():
    with pytest.raises(ValueError, match="16 tokens need"):
        GradientSums(TRAINING.gradients(), torch.ones(15), TRAINING.pairs, 3)
