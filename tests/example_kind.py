"""A kind outside the package: the mean log-probability of the response's tokens, as in SimPO."""

import torch

from rewardgap.models.kinds.reward_model import TrainedRewardModel


class LengthNormalised(TrainedRewardModel):
    """r(x, y) = β / |y| · ln π(y | x), with β = 2 unless given."""

    generates = True
    default_beta = 2.0

    def steps(self, states):
        tokens = states.pack.response_tokens
        return self.beta * self.vocabulary.log_probs(states.predicting_states, tokens)

    def rewards(self, states):
        return states.total(self.steps(states)) / states.pack.response_lengths

    def prefixes(self, states):
        return [
            steps.cumsum(0) / torch.arange(1, len(steps) + 1, device=steps.device)
            for steps in states.split(self.steps(states))
        ]
