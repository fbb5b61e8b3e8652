"""Packs: many trees side by side in one unpadded row.

A reward cannot depend on its batch mates, as no token attends to another tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rewardgap.data.trees import Tokens, Tree
from rewardgap.errors import UserError
from rewardgap.models.devices import tokens_at_once


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the nodes of a pack lie: their lengths in order, and each one's ancestors."""

    lengths: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Many trees in one row of N tokens, with the indices that read-outs need.

    Attributes:
        tokens: (N,) token ids, node after node.
        positions: (N,) position ids; every node goes on counting where its parent ended.
        layout: the nodes, for the attention.
        response_tokens: (R,) ids of all leaves' tokens, leaf after leaf.
        here: (R,) where each of them stands in the row.
        before: (R,) where the token that predicts it stands (the parent's last for a leaf's first).
        leaf_lengths: (L,) number of tokens of each leaf.
        responses: (L,) number of responses of the leaf's record.
        rewarded: (L,) whether the leaf is a response (and not only part of a loss).
        chosen: (P,) leaf index of each pair's chosen response.
        rejected: (P,) leaf index of each pair's rejected response.
        reference: (R,) the reference model's log-probability of each response token, or None.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    response_tokens: torch.Tensor
    here: torch.Tensor
    before: torch.Tensor
    leaf_lengths: torch.Tensor
    responses: torch.Tensor
    rewarded: torch.Tensor
    chosen: torch.Tensor
    rejected: torch.Tensor
    reference: torch.Tensor | None = None

    @property
    def ends(self) -> torch.Tensor:
        """(L,) where the last token of each leaf stands in the row."""
        return self.here[self.leaf_lengths.cumsum(0) - 1]

    def to(self, device: torch.device) -> "Pack":
        """The same pack with every tensor on `device`.

        Nothing waits for a copy to a GPU: the next pack is made while it computes.
        """
        moved: dict[str, Any] = {
            name: (value.pin_memory() if device.type == "cuda" else value).to(
                device, non_blocking=True
            )
            for name in self.__slots__
            if isinstance(value := getattr(self, name), torch.Tensor)
        }
        return replace(self, **moved)


def pack(trees: Sequence[Tree], references: Sequence[np.ndarray] | None = None) -> Pack:
    """Lay trees side by side in one row.

    Args:
        trees: at least one tree.
        references: for each tree the reference log-probabilities of its leaves' tokens, leaf after
            leaf (float32), or None where the kind needs none.
    """
    nodes: list[Tokens] = []
    ancestors: list[tuple[int, ...]] = []
    starts: list[int] = []
    positions: list[int] = []
    leaves: list[int] = []
    pairs: list[tuple[int, int]] = []
    for tree in trees:
        first_node, first_leaf = len(nodes), len(leaves)
        depth: list[int] = []
        for node, parent in zip(tree.nodes, tree.parents, strict=True):
            begin = depth[parent] + len(tree.nodes[parent]) if parent >= 0 else 0
            depth.append(begin)
            starts.append(starts[-1] + len(nodes[-1]) if starts else 0)
            path = tree.path(len(depth) - 1)[:-1]
            ancestors.append(tuple(first_node + above for above in path))
            positions.extend(range(begin, begin + len(node)))
            nodes.append(node)
        leaves.extend(first_node + leaf for leaf in tree.leaves)
        pairs.extend((first_leaf + i, first_leaf + j) for i, j in tree.pairs)
    counts = [tree.chosen + tree.rejected for tree in trees for _ in tree.leaves]
    rewarded = [i < t.chosen + t.rejected for t in trees for i in range(len(t.leaves))]
    here = [np.arange(starts[leaf], starts[leaf] + len(nodes[leaf])) for leaf in leaves]
    before = [
        np.concatenate(([_last(starts, nodes, ancestors[leaf])], index[:-1]))
        for leaf, index in zip(leaves, here, strict=True)
    ]
    tokens = torch.tensor([token for node in nodes for token in node])
    index = torch.from_numpy(np.concatenate(here))
    chosen, rejected = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Pack(
        tokens=tokens,
        positions=torch.tensor(positions),
        layout=Layout(tuple(map(len, nodes)), tuple(ancestors)),
        response_tokens=tokens[index],
        here=index,
        before=torch.from_numpy(np.concatenate(before)),
        leaf_lengths=torch.tensor([len(nodes[leaf]) for leaf in leaves]),
        responses=torch.tensor(counts),
        rewarded=torch.tensor(rewarded),
        chosen=chosen,
        rejected=rejected,
        reference=None if references is None else torch.from_numpy(np.concatenate(references)),
    )


def _last(starts: list[int], nodes: list[Tokens], ancestors: tuple[int, ...]) -> int:
    """Index in the row of the last token of the nearest ancestor."""
    return starts[ancestors[-1]] + len(nodes[ancestors[-1]]) - 1


def micro_batches(
    trees: Sequence[Tree], token_budget: int | None, device: torch.device
) -> list[list[int]]:
    """Indices of `trees` in groups of at most `token_budget` tokens, longest trees first.

    Args:
        trees: what is computed.
        token_budget: None for as many as suit the device; a larger tree then goes alone.
        device: where it is computed.

    Raises:
        UserError: a single tree is larger than the budget.
    """
    order = sorted(range(len(trees)), key=lambda i: -trees[i].size)
    room_of_all = tokens_at_once(token_budget, device)
    if token_budget and order and trees[order[0]].size > token_budget:
        tree = trees[order[0]]
        raise UserError(
            f"token_budget {token_budget} is smaller than record {tree.record}, which has "
            f"{tree.size} tokens; raise token_budget or set max_length"
        )
    groups: list[list[int]] = []
    room = 0
    for i in order:
        if not groups or trees[i].size > room:
            groups.append([])
            room = room_of_all
        groups[-1].append(i)
        room -= trees[i].size
    return groups
