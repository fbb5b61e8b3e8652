"""Packs: many trees side by side in one unpadded row.

No token attends to another tree, so a reward cannot depend on its batch mates. The letters of all
shapes in this package: N tokens of a pack, L responses, R response tokens, P pairs, D hidden size,
V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.progress import progress
from rewardgap.models.devices import tokens_at_once

Result = TypeVar("Result")
References = Sequence[np.ndarray]
"""For each tree the reference log-probabilities (float32) of its response tokens."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The nodes of a pack: their lengths in order, and the indices of each one's ancestors."""

    lengths: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Many trees in one row of N tokens, with the indices that rewards need.

    Two trees of a prompt and two responses lie like this::

        node      prompt  y⁺  y⁻  prompt  y⁺  y⁻
        position  0 1 2   3 4 3   0 1     2   2 3

    Attributes:
        tokens: (N,) token ids, node after node.
        positions: (N,) position ids; a node continues counting where its parent ended.
        layout: The nodes, for the attention.
        response_tokens: (R,) ids of the tokens of all responses, one response after the other.
        response_positions: (R,) index of each response token in the row.
        predicting_positions: (R,) index of the token that predicts it (for a response's first
            token the last token of its parent).
        response_lengths: (L,) number of tokens of each response.
        responses_in_record: (L,) number of responses of the record that a response belongs to.
        rewarded: (L,) False for branches that are only part of a loss.
        chosen: (P,) index, among the L responses, of each pair's chosen response.
        rejected: (P,) index of its rejected response.
        reference: (R,) the reference model's log-probability of each response token, or None.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    response_tokens: torch.Tensor
    response_positions: torch.Tensor
    predicting_positions: torch.Tensor
    response_lengths: torch.Tensor
    responses_in_record: torch.Tensor
    rewarded: torch.Tensor
    chosen: torch.Tensor
    rejected: torch.Tensor
    reference: torch.Tensor | None = None

    @property
    def last_positions(self) -> torch.Tensor:
        """(L,) index of each response's last token in the row."""
        return self.response_positions[self.response_lengths.cumsum(0) - 1]

    def to(self, device: torch.device) -> "Pack":
        """Return the pack with every tensor on `device`.

        Copies to a GPU are asynchronous: the next pack is made while the GPU computes.
        """
        moved: dict[str, Any] = {
            name: (value.pin_memory() if device.type == "cuda" else value).to(
                device, non_blocking=True
            )
            for name in self.__slots__
            if isinstance(value := getattr(self, name), torch.Tensor)
        }
        return replace(self, **moved)


def pack(trees: Sequence[Tree], references: References | None = None) -> Pack:
    """Lay trees, at least one, side by side in a row, with the references that the kind needs."""
    tokens: list[int] = []
    positions: list[int] = []
    ancestors: list[tuple[int, ...]] = []
    responses: list[np.ndarray] = []
    predicting: list[np.ndarray] = []
    counts: list[tuple[int, bool]] = []
    pairs: list[tuple[int, int]] = []
    for tree in trees:
        first, first_response = len(ancestors), len(responses)
        ends: list[tuple[int, int]] = []  # of every node, in the row and in its sequence
        for node, parent in zip(tree.nodes, tree.parents, strict=True):
            depth = ends[parent][1] if parent >= 0 else 0
            ancestors.append((*ancestors[first + parent], first + parent) if parent >= 0 else ())
            tokens.extend(node)
            positions.extend(range(depth, depth + len(node)))
            ends.append((len(tokens), depth + len(node)))
        responses_in_record = tree.chosen + tree.rejected
        for number, leaf in enumerate(tree.leaves):
            end, last_of_parent = ends[leaf][0], ends[tree.parents[leaf]][0] - 1
            responses.append(np.arange(end - len(tree.nodes[leaf]), end))
            predicting.append(np.concatenate(([last_of_parent], responses[-1][:-1])))
            counts.append((responses_in_record, number < responses_in_record))
        pairs.extend((first_response + i, first_response + j) for i, j in tree.pairs)
    row, lengths = torch.tensor(tokens), (len(node) for tree in trees for node in tree.nodes)
    response_positions = torch.from_numpy(np.concatenate(responses))
    chosen, rejected = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Pack(
        tokens=row,
        positions=torch.tensor(positions),
        layout=Layout(tuple(lengths), tuple(ancestors)),
        response_tokens=row[response_positions],
        response_positions=response_positions,
        predicting_positions=torch.from_numpy(np.concatenate(predicting)),
        response_lengths=torch.tensor(list(map(len, responses))),
        responses_in_record=torch.tensor([count for count, _ in counts]),
        rewarded=torch.tensor([is_rewarded for _, is_rewarded in counts]),
        chosen=chosen,
        rejected=rejected,
        reference=None if references is None else torch.from_numpy(np.concatenate(references)),
    )


def micro_batches(
    trees: Sequence[Tree], token_budget: int | None, device: torch.device
) -> list[list[int]]:
    """Return indices of `trees` in groups of at most `token_budget` tokens, longest trees first.

    Without a budget, as many tokens as suit the device; a larger tree then goes alone.

    Raises:
        UserError: A single tree is larger than the budget.
    """
    order = sorted(range(len(trees)), key=lambda i: -trees[i].size)
    capacity = tokens_at_once(token_budget, device)
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
            room = capacity
        groups[-1].append(i)
        room -= trees[i].size
    return groups


def map_trees(
    trees: Sequence[Tree],
    compute: Callable[[Pack, Sequence[Tree]], Iterable[Result]],
    token_budget: int | None,
    device: torch.device,
    label: str,
    references: References | None = None,
) -> list[Result]:
    """Compute something of every tree, pack by pack, and return it in the order of the trees.

    `compute` takes a pack and its trees, and returns one result for each of them; results do not
    depend on the budget of `micro_batches`. The progress bar says `label`.
    """
    results: dict[int, Result] = {}
    for group in progress(micro_batches(trees, token_budget, device), label):
        members = [trees[i] for i in group]
        needed = None if references is None else [references[i] for i in group]
        results |= zip(group, compute(pack(members, needed).to(device), members), strict=True)
    return [results[i] for i in range(len(trees))]
