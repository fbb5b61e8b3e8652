"""Rewards of token trees: of their responses, and of the beginnings of these."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.packing import Pack, map_trees
from rewardgap.models.processes import ALONE, Processes


class RatedResponse(NamedTuple):
    """A response's reward, and the (T,) float32 rewards of its beginnings if they are known."""

    reward: float
    prefixes: np.ndarray | None


def score_trees(
    model: RewardModel,
    trees: Sequence[Tree],
    references: Sequence[np.ndarray] | None,
    token_budget: int | None,
    label: str = "scoring",
    processes: Processes = ALONE,
) -> list[list[float]]:
    """Return the rewards of every tree's responses, chosen ones first; see `rate_trees`."""
    rated = rate_trees(model, trees, references, token_budget, label, processes=processes)
    return [[response.reward for response in tree] for tree in rated]


def rate_trees(
    model: RewardModel,
    trees: Sequence[Tree],
    references: Sequence[np.ndarray] | None,
    token_budget: int | None,
    label: str,
    prefixes: bool = False,
    processes: Processes = ALONE,
) -> list[list[RatedResponse]]:
    """Rate every tree's responses, chosen ones first.

    Args:
        model: The reward model; it runs on its own device, in its own dtype.
        trees: Records as the model's `encode` writes them.
        references: For each tree the reference log-probabilities, where the kind needs them.
        token_budget: Tokens computed at once, None for as many as suit the device; the rewards do
            not depend on it.
        label: What the progress says is done.
        prefixes: Also rate the beginnings of responses, if the kind does so in the same pass.
        processes: Those that share the work; all of them call this and return the same.
    """

    def rate(batch: Pack, trees: Sequence[Tree]) -> list[list[RatedResponse]]:
        with torch.no_grad():
            rewards, parts = model.score(batch, prefixes)
        arrays = (
            [None] * len(rewards) if parts is None else [v.float().cpu().numpy() for v in parts]
        )
        branches = map(RatedResponse, rewards.tolist(), arrays)
        by_tree = [[next(branches) for _ in tree.leaves] for tree in trees]
        return [rated[: len(tree.lengths)] for rated, tree in zip(by_tree, trees, strict=True)]

    return map_trees(trees, rate, token_budget, model.device, label, references, processes)
