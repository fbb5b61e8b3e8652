"""Adam as training takes it, and as a rehearsal of a training with larger batches takes it."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from rewardgap.configs.training import TrainConfig
from rewardgap.errors import require_package
from rewardgap.models.devices import choose_device
from rewardgap.models.quantisation import require_bitsandbytes

EIGHT_BITS = {"adam-8bit": "Adam8bit", "paged-adam-8bit": "PagedAdam8bit"}
"""Classes of bitsandbytes."""
TABLES = ("qmap1", "qmap2")
"""What bitsandbytes' eight bits stand for, always the same."""


def refuse_absent_packages(config: TrainConfig) -> None:
    """Refuse an adapter, a quantisation or an optimiser that this machine cannot compute."""
    if config.adapter is not None:
        require_package("peft", "lora", f"adapter is {config.adapter}")
    device = choose_device(config.device)
    for key in ("quantise", "optimiser"):
        if (value := getattr(config, key)) is not None:
            require_bitsandbytes(f"{key} is {value}", device)


def make_adam(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser of a run; moments of larger batches are in float32 always."""
    batches = (config.moment_batch_size or config.batch_size) / config.batch_size
    if batches > 1:
        return SteadyAdam(parameters, config.learning_rate, batches)
    if config.optimiser is None:
        return torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    from bitsandbytes import optim

    adam: torch.optim.Optimizer = getattr(optim, EIGHT_BITS[config.optimiser])(
        parameters, lr=config.learning_rate
    )
    return adam


def state_tensors(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return an optimiser's state of a parameter as tensors that share no memory.

    That of bitsandbytes has a number of steps, and tables that all parameters have in common.
    """
    return {
        key: value if isinstance(value, Tensor) else torch.tensor(value)
        for key, value in optimizer.state[parameter].items()
        if key not in TABLES
    }


def restore_state(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, saved: Mapping[str, Tensor]
) -> None:
    """Give an optimiser a parameter's state again, as `state_tensors` has returned it."""
    state = optimizer.state[parameter]
    if isinstance(optimizer, torch.optim.Adam):
        state |= {key: value.to(parameter.device) for key, value in saved.items()}
        return
    cast(Any, optimizer).init_state(optimizer.param_groups[0], parameter, 0, 0)
    for key, value in saved.items():
        if isinstance(state[key], Tensor):
            state[key].copy_(value)  # in place, as it may be paged
        else:
            state[key] = value.item()


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
