"""Attributions of dattri on the tangent kernel of a reward model: TracIn, and TRAK.

The tangent kernel is that of a linear model whose inputs are the gradients of margins in all
weights; that linear model is what dattri is given, with the margin as target.
"""

from collections.abc import Sequence

import numpy as np
import torch
from dattri.algorithm import TracInAttributor, TRAKAttributor
from dattri.task import AttributionTask
from torch.utils.data import DataLoader, TensorDataset

from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import pack
from rewardgap.models.reference import Reference

PROJECTED = 512
"""Width of TRAK's projections."""
REGULARISATION = 10.0
"""Of TRAK, in mean squared lengths of a gradient: of 0.1, 1 and 10 the best in a first trial."""


def tangent_kernel_attributions(
    model: TrainedRewardModel,
    reference: Reference,
    training: Sequence[Tree],
    explained: Sequence[Tree],
) -> dict[str, np.ndarray]:
    """Return (records, pairs) attributions of margins by the name of the method."""
    train, test = (_loader(model, reference, trees) for trees in (training, explained))
    size = train.dataset[0][0].numel()
    linear = torch.nn.Linear(size, 1, bias=False)

    def loss(weights: dict[str, torch.Tensor], row: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the negative margin times the loss's factor g, whose gradient is the loss's."""
        return -(1 - row[1][0]) * (weights["weight"][0] @ row[0])

    def margin(weights: dict[str, torch.Tensor], row: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return weights["weight"][0] @ row[0]

    def negative_margin(
        weights: dict[str, torch.Tensor], row: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        return -margin(weights, row)

    def probability(weights: object, row: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return row[1][0]

    state = linear.state_dict()
    exact = {"proj_type": "identity", "proj_dim": size}
    tracin = TracInAttributor(
        AttributionTask(loss, linear, state, negative_margin), torch.ones(1), False, exact
    ).attribute(train, test)
    squares = float((train.dataset.tensors[0] ** 2).sum(1).mean()) / size  # as TRAK scales them
    trak = TRAKAttributor(
        AttributionTask(margin, linear, state),
        probability,
        {"proj_type": "normal", "proj_dim": PROJECTED},
        regularization=REGULARISATION * squares,
    ).attribute(test, train)
    return {
        name: values.T.double().numpy() for name, values in (("TracIn", tracin), ("TRAK", trak))
    }


def _loader(model: TrainedRewardModel, reference: Reference, trees: Sequence[Tree]) -> DataLoader:
    """Return gradients of margins in all weights, and the probabilities σ of the margins."""
    references = reference.log_probs(trees) if model.needs_reference else [None] * len(trees)
    weights, rows, margins = list(model.parameters()), [], []
    for tree, log_probs in zip(trees, references, strict=True):
        batch = pack([tree], None if log_probs is None else [log_probs])
        rewards = model(batch).rewards
        margin = (rewards[batch.chosen] - rewards[batch.rejected]).sum()
        gradient = torch.autograd.grad(margin, weights, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in gradient]))
        margins.append(margin.detach())
    data = TensorDataset(torch.stack(rows), torch.stack(margins).sigmoid()[:, None])
    return DataLoader(data, batch_size=len(rows))
