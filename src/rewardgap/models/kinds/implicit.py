"""Implicit reward models: rewards are log-probabilities of a language model (eq. 2)."""

import torch

from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.packing import Pack


class ImplicitWithoutReference(TrainedRewardModel):
    """r(x, y) = β ln π(y | x) with β = 1 unless given (fig. 7)."""

    generates = True
    sums_tokens = True
    default_beta = 1.0

    def steps(self, states: ResponseStates) -> torch.Tensor:
        """Return (R,) rewards of the response tokens one by one.

        The difference to a reference is taken token by token: two sums over a long response would
        cancel almost all of their digits.
        """
        log_probs = self.vocabulary.log_probs(states.predicting_states, states.pack.response_tokens)
        return self.beta * (log_probs - states.reference if self.needs_reference else log_probs)

    def rewards(self, states: ResponseStates) -> torch.Tensor:
        """Return (L,) sums over each response's tokens."""
        return states.total(self.steps(states))

    def log_probs(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (L,) ln π(y | x) = r / β."""
        return rewards.detach() / self.beta

    def prefixes(self, states: ResponseStates) -> list[torch.Tensor]:
        """Return running sums of the steps' rewards."""
        return [steps.cumsum(0) for steps in states.split(self.steps(states))]

    equation = "eq. 5"
    coefficient = "ρ"

    def gradient_terms(self, pack: Pack) -> Terms:
        """Return β ln π of every token of a response; a reference is constant and has no part."""
        return Terms.of_log_probs(pack, self.beta)


class Implicit(ImplicitWithoutReference):
    """r(x, y) = β [ln π(y | x) − ln π_ref(y | x)], as in DPO (eq. 2).

    π_ref is the initial model; its log-probabilities are computed once and come with the pack.
    """

    needs_reference = True
    default_beta = 0.01

    def log_probs(self, states: ResponseStates, rewards: torch.Tensor) -> torch.Tensor:
        """Return (L,) ln π(y | x) = r / β + ln π_ref(y | x)."""
        return super().log_probs(states, rewards) + states.total(states.reference)
