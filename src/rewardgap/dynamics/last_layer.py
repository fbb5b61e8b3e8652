"""How the reward and the loss of each kind depend on the last layer: the head u or U.

With hidden states fixed (the paper's assumption 1) every gradient is a weighted sum of gradients
of single tokens, and two of them meet in Σ w̄_k w_l ρ_{k,l} ⟨h̄_k, h_l⟩: equation 4 with ρ = 1 and a
single token a side, equations 5 and 8 in general. A kind says which tokens and weights these are.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import ClassVar

import torch
from torch import Tensor

from rewardgap.dynamics.equations import TokenGradients, step_weight, token_gradients
from rewardgap.models.kinds.explicit import Explicit, ExplicitMean
from rewardgap.models.kinds.generative import Generative
from rewardgap.models.kinds.implicit import ImplicitWithoutReference
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.kinds.trained import TrainedRewardModel


@dataclass(frozen=True)
class Terms:
    """One gradient a leaf: weighted gradients of single tokens, K in all.

    Attributes:
        states: (K, D) what the last layer reads.
        targets: (K,) the tokens whose log-probabilities are differentiated; a head ignores them.
        weights: (K,) float32 factors.
        rows: (K,) which response token, among all of the pack, each one stands at.
        owners: (K,) the leaf of each.
    """

    states: Tensor
    targets: Tensor
    weights: Tensor
    rows: Tensor
    owners: Tensor

    def split(self, size: int) -> Iterator["Terms"]:
        """The same terms in blocks of at most `size`, as views."""
        fields = (self.states, self.targets, self.weights, self.rows, self.owners)
        for block in zip(*(values.split(size) for values in fields), strict=True):
            yield Terms(*block)

    def of(self, leaf: int) -> "Terms":
        """The terms of one leaf."""
        own = self.owners == leaf
        return Terms(
            self.states[own],
            self.targets[own],
            self.weights[own],
            self.rows[own],
            self.owners[own],
        )


@dataclass(frozen=True)
class Pull:
    """One response of every pair of a pack, as a descent step on the pair's loss moves it.

    Attributes:
        label: what the response is in the loss.
        leaves: (P,) the leaf of each pair.
        factors: (P,) what the leaf's gradient is multiplied by.
    """

    label: str
    leaves: Tensor
    factors: Tensor


class LastLayer(ABC):
    """The last layer of a reward model that has yet to be trained.

    Attributes:
        equation: which equation of the paper the contributions are those of.
        product: what the product of two tokens' gradients is.
    """

    equation: ClassVar[str]
    product: ClassVar[str]

    @abstractmethod
    def reward_terms(self, leaves: ResponseStates) -> Terms:
        """The gradients of the leaves' rewards."""

    def loss_terms(self, leaves: ResponseStates) -> Terms:
        """Gradients of the leaves that `pulls` refers to; by default those of the rewards."""
        return self.reward_terms(leaves)

    def pulls(self, leaves: ResponseStates, rewards: Tensor) -> tuple[Pull, ...]:
        """The descent direction of each pair's loss: Bradley–Terry unless a kind says otherwise."""
        chosen, rejected = leaves.pack.chosen, leaves.pack.rejected
        weight = step_weight(rewards[chosen], rewards[rejected])
        return (Pull("chosen", chosen, weight), Pull("rejected", rejected, -weight))

    @abstractmethod
    def gradients(self, terms: Terms) -> TokenGradients:
        """The terms' gradients without their weights, in float32."""


class Head(LastLayer):
    """⟨u, h⟩ at the last token: the gradient is h (eq. 4)."""

    equation = "eq. 4"
    product = "⟨h̄, h⟩"

    def reward_terms(self, leaves: ResponseStates) -> Terms:
        """The last token of each leaf."""
        weights = torch.zeros_like(leaves.pack.response_positions, dtype=torch.float32)
        weights[leaves.last_tokens] = 1.0
        return _terms(leaves, leaves.states, leaves.pack.response_tokens, weights)

    def gradients(self, terms: Terms) -> TokenGradients:
        """Hidden states with residual 1, so that every coefficient is 1."""
        states = terms.states.float()
        return TokenGradients(states.new_ones(len(states), 1), states)


class MeanHead(Head):
    """⟨u, mean of h⟩ (fig. 7)."""

    equation = "eq. 4 with mean hidden states"

    def reward_terms(self, leaves: ResponseStates) -> Terms:
        """Every token with weight 1/T."""
        lengths = leaves.pack.response_lengths
        weights = (1.0 / lengths).repeat_interleave(lengths)
        return _terms(leaves, leaves.states, leaves.pack.response_tokens, weights)


class Unembedding(LastLayer):
    """β ln π(y | x): residuals times the states that predict the tokens (eq. 5)."""

    equation = "eq. 5"
    product = "ρ · ⟨h̄, h⟩"

    def __init__(self, model: TrainedRewardModel):
        self.model = model

    def reward_terms(self, leaves: ResponseStates) -> Terms:
        """Every token with weight β; the reference is constant and has no part."""
        tokens = leaves.pack.response_tokens
        weights = torch.full_like(tokens, self.model.beta, dtype=torch.float32)
        return _terms(leaves, leaves.predicting_states, tokens, weights)

    def gradients(self, terms: Terms) -> TokenGradients:
        """Residuals over the vocabulary; a soft cap or a scale of the logits changes them."""
        vocabulary = self.model.vocabulary
        logits = vocabulary.logits(terms.states)
        found = token_gradients(terms.targets, logits.softmax(-1), terms.states.float())
        return replace(found, residuals=vocabulary.by_product(found.residuals, logits))


class Verdict(Unembedding):
    """π(Yes | I[x, y]), trained to say Yes or No (eq. 8)."""

    equation = "eq. 8"
    product = "γ · ⟨h̄, h⟩"

    def __init__(self, model: Generative):
        super().__init__(model)
        self.verifier = model

    def reward_terms(self, leaves: ResponseStates) -> Terms:
        """Yes at the end of each verification prompt, with weight π(Yes)."""
        answers = torch.full_like(leaves.pack.response_lengths, self.verifier.yes)
        return self._terms(leaves, answers, self.verifier.rewards(leaves))

    def loss_terms(self, leaves: ResponseStates) -> Terms:
        """Yes for chosen and No for rejected responses; plain text its own tokens (λ)."""
        answers = torch.full_like(leaves.pack.response_lengths, self.verifier.yes)
        answers[leaves.pack.rejected] = self.verifier.no
        return self._terms(leaves, answers, torch.ones_like(answers, dtype=torch.float32))

    def pulls(self, leaves: ResponseStates, rewards: Tensor) -> tuple[Pull, ...]:
        """Eq. 7 raises the log-probability of both answers, and λ that of the chosen response."""
        pack = leaves.pack
        ones = torch.ones_like(rewards[pack.chosen])
        pulls = (Pull("chosen", pack.chosen, ones), Pull("rejected", pack.rejected, ones))
        weight = self.verifier.options.likelihood_weight
        if not weight:
            return pulls
        plain = pack.chosen + pack.responses_in_record[pack.chosen]
        return (*pulls, Pull("chosen as plain text", plain, weight * ones))

    def _terms(self, leaves: ResponseStates, answers: Tensor, weights: Tensor) -> Terms:
        """(L,) answers with (L,) weights to verification prompts; plain text with weight 1."""
        pack = leaves.pack
        ends = leaves.last_tokens[pack.rewarded]
        states, targets = leaves.predicting_states.clone(), pack.response_tokens.clone()
        states[ends] = leaves.states[ends]
        targets[ends] = answers[pack.rewarded]
        factors = (~pack.rewarded).float().repeat_interleave(pack.response_lengths)
        factors[ends] = weights[pack.rewarded]
        return _terms(leaves, states, targets, factors)


@singledispatch
def last_layer(model: RewardModel) -> LastLayer | None:
    """The last layer of a kind; None for kinds whose rewards have no gradient."""
    return None


@last_layer.register
def _(model: Explicit) -> LastLayer:
    return Head()


@last_layer.register
def _(model: ExplicitMean) -> LastLayer:
    return MeanHead()


@last_layer.register
def _(model: ImplicitWithoutReference) -> LastLayer:
    return Unembedding(model)


@last_layer.register
def _(model: Generative) -> LastLayer:
    return Verdict(model)


def _terms(leaves: ResponseStates, states: Tensor, targets: Tensor, weights: Tensor) -> Terms:
    """Terms from one state, target and weight a response token, where the weight is not zero."""
    lengths = leaves.pack.response_lengths
    owners = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    rows = weights.nonzero().squeeze(1)
    return Terms(states[rows], targets[rows], weights[rows], rows, owners[rows])
