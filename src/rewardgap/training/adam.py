"""Adam as training takes it, and as a rehearsal of a training with larger batches takes it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from rewardgap.configs.training import TrainConfig


def make_adam(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Adam:
    """Return the optimiser of a run."""
    batches = (config.moment_batch_size or config.batch_size) / config.batch_size
    if batches <= 1:
        return torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    return SteadyAdam(parameters, config.learning_rate, batches)


class SteadyAdam(torch.optim.Adam):
    """Adam whose second moments are those of batches that are `batches` times as large.

    Adam divides the mean gradient μ by the root of its second moment, μ² + σ²/B for batches of B
    pairs. With a smaller batch the noise σ²/B is larger and every step along μ shorter, so that a
    rehearsal lags behind its training. Here the second moment is that of a moving average of the
    gradients of successive steps with as little noise as a batch of B: one of rate β has
    (1 − β) / (1 + β) of it.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, batches: float
    ) -> None:
        super().__init__(parameters, lr=learning_rate)
        self.rate = (batches - 1) / (batches + 1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take one step for the gradients that the parameters have."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: nn.Parameter, grad: torch.Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.tensor(0.0)
            state |= {
                name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq", "mean")
            }
        state["step"] += 1
        steps = state["step"].item()
        state["exp_avg"].lerp_(grad, 1 - first)
        state["mean"].lerp_(grad, 1 - self.rate)
        weight = (1 - second) / (1 - self.rate**steps) ** 2
        state["exp_avg_sq"].mul_(second).addcmul_(state["mean"], state["mean"], value=weight)
        root = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["exp_avg"], root, value=-group["lr"] / (1 - first**steps))
