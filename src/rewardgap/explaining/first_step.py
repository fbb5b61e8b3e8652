"""What each training pair does to rewards in the first step of Adam, in all weights of the model.

The equations of the last layer tell which tokens of a pair pull. Which pairs matter depends on all
weights, and on the optimiser: `docs/explain.md` has what was measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardgap.data.trees import Tree
from rewardgap.dynamics.adam import first_step, first_step_slope
from rewardgap.io.progress import progress
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import Pack, pack

Gradient = Sequence[Tensor]
"""A tensor for each weight that is trained."""


@dataclass(frozen=True)
class StepEffects:
    """The first step of Adam on all P training pairs, and what it does to M rewards.

    Attributes:
        changes: (M,) what the step adds to each reward, per unit of learning rate.
        effects: (M, P) the derivatives of these by the weights of the pairs, of which each has 1.
    """

    changes: Tensor
    effects: Tensor


@torch.enable_grad()
def measure_first_step(
    model: TrainedRewardModel, explained: Sequence[Tree], trees: Sequence[Tree], batch_size: int
) -> StepEffects:
    """Return what the first step of the initial model does to the rewards of explained records.

    Each pair takes two backward passes. Memory is that of M + 3 gradients beside the model, and
    does not grow with the number of pairs.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    mean, squares = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    pairs = sum(tree.pair_count for tree in trees)
    for gradient in _loss_gradients(model, weights, trees, "training pairs: first step"):
        for total, square, part in zip(mean, squares, gradient, strict=True):
            total.add_(part, alpha=1 / pairs)
            square.addcmul_(part, part, value=1 / pairs)
    step = [first_step(m, s, batch_size) for m, s in zip(mean, squares, strict=True)]
    batch = _with_reference(model, pack(explained).to(model.device))
    directions = list(_gradients(model.rewards(model.read(batch)), weights))
    changes = torch.stack([-_product(direction, step) for direction in directions])
    del step
    for direction in directions:
        for part, m, s in zip(direction, mean, squares, strict=True):
            part.mul_(first_step_slope(m, s, batch_size))
    effects = [
        torch.stack([-_product(direction, gradient) / pairs for direction in directions])
        for gradient in _loss_gradients(model, weights, trees, "training pairs: effects")
    ]
    return StepEffects(changes, torch.stack(effects, 1))


def _loss_gradients(
    model: TrainedRewardModel, weights: Gradient, trees: Sequence[Tree], label: str
) -> Iterator[Gradient]:
    """Yield the gradient of the loss of every pair, in the order of the trees."""
    for tree in progress(trees, label):
        batch = _with_reference(model, pack([tree]).to(model.device))
        yield from _gradients(model(batch).losses, weights)


def _gradients(values: Tensor, weights: Gradient) -> Iterator[Gradient]:
    """Yield the gradient of each of (N,) values."""
    for k, value in enumerate(values):
        yield list(
            torch.autograd.grad(
                value, weights, retain_graph=k + 1 < len(values), materialize_grads=True
            )
        )


def _with_reference(model: TrainedRewardModel, batch: Pack) -> Pack:
    """Return a pack with the model's own log-probabilities as those of its reference."""
    if not model.needs_reference:
        return batch
    with torch.no_grad():
        states = model.read(batch)
        tokens = states.pack.response_tokens
        reference = model.vocabulary.log_probs(states.predicting_states, tokens)
    return replace(batch, reference=reference)


def _product(gradient: Gradient, other: Gradient) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(gradient, other, strict=True)]).sum()
