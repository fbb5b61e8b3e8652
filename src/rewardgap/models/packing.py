"""Packs: many trees side by side in one unpadded row.

No token attends to another tree, so a reward cannot depend on its batch mates. The letters of all
shapes in this package: N tokens of a pack, L responses, R response tokens, P pairs, D hidden size,
V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from operator import gt
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.progress import progress
from rewardgap.models.devices import tokens_at_once
from rewardgap.models.processes import ALONE, Processes

LENGTH_STEP = 128
"""Lengths that a kernel is given are multiples of this."""

Result = TypeVar("Result")
References = Sequence[np.ndarray]
"""For each tree the reference log-probabilities (float32) of its response tokens."""


class Segments(NamedTuple):
    """The queries of every node and the keys of its path, for one kernel over all nodes.

    Attributes:
        query_ends: (n + 1,) int32; the queries of node i are tokens `query_ends[i]` and following.
        key_ends: (n + 1,) int32; its keys are `keys[key_ends[i]]` and following.
        keys: indices in the row of the tokens of every node's path; None where each node is its
            own path, so that keys lie as queries do.
        longest_node: number of tokens, or a few more.
        longest_path: number of tokens, or a few more.
    """

    query_ends: torch.Tensor
    key_ends: torch.Tensor
    keys: torch.Tensor | None
    longest_node: int
    longest_path: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The nodes of a pack: their lengths in order, and the indices of each one's ancestors."""

    lengths: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]

    def segments(self, device: torch.device) -> Segments:
        """Return the same for attention over all nodes at once, on `device`."""
        ends = np.cumsum((0, *self.lengths), dtype=np.int32)
        paths = [(*above, node) for node, above in enumerate(self.ancestors)]
        path_lengths = [sum(self.lengths[i] for i in path) for path in paths]
        query_ends = torch.from_numpy(ends)
        key_ends = torch.from_numpy(np.cumsum((0, *path_lengths), dtype=np.int32))
        keys = None
        if any(self.ancestors):
            pieces = [np.arange(ends[i], ends[i + 1]) for path in paths for i in path]
            keys = copy_to(torch.from_numpy(np.concatenate(pieces)), device)
        return Segments(
            copy_to(query_ends, device),
            copy_to(key_ends, device),
            keys,
            _rounded(max(self.lengths)),
            _rounded(max(path_lengths)),
        )


def _rounded(length: int) -> int:
    """Round up, so that code compiled for one pack serves others."""
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def copy_to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy on `device`, for a GPU without waiting for it."""
    pinned = tensor.pin_memory() if device.type == "cuda" and not tensor.is_cuda else tensor
    return pinned.to(device, non_blocking=True)


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
        margins: (P,) by how much each chosen reward is to exceed the rejected one; None for 0.
        reference: (R,) the reference model's log-probability of each response token, or None.
        segments: The nodes again, on a GPU, for attention over all of them at once; elsewhere None.
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
    margins: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    segments: Segments | None = None

    @property
    def last_positions(self) -> torch.Tensor:
        """(L,) index of each response's last token in the row."""
        return self.response_positions[self.response_lengths.cumsum(0) - 1]

    def to(self, device: torch.device) -> "Pack":
        """Return the pack with every tensor on `device`.

        Copies to a GPU are asynchronous: the next pack is made while the GPU computes.
        """
        moved: dict[str, Any] = {
            name: copy_to(value, device)
            for name in self.__slots__
            if isinstance(value := getattr(self, name), torch.Tensor)
        }
        segments = self.layout.segments(device) if device.type == "cuda" else None
        return replace(self, **moved, segments=segments)


def pack(trees: Sequence[Tree], references: References | None = None) -> Pack:
    """Lay trees, at least one, side by side in a row, with the references that the kind needs."""
    first_nodes = accumulate((len(tree.nodes) for tree in trees), initial=0)
    first_tokens = accumulate((tree.size for tree in trees), initial=0)
    placed = [*map(_place, trees, first_nodes, first_tokens)]
    counts = [len(tree.responses) for tree in placed]
    in_record = [
        tree.chosen + tree.rejected
        for tree, count in zip(trees, counts, strict=True)
        for _ in range(count)
    ]
    pairs = [
        (first + i, first + j)
        for tree, first in zip(trees, accumulate(counts, initial=0), strict=False)
        for i, j in tree.pairs
    ]
    chosen, rejected = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    tokens = torch.tensor([token for tree in trees for node in tree.nodes for token in node])
    responses = [response for tree in placed for response in tree.responses]
    predicting = [response for tree in placed for response in tree.predicting]
    response_positions = torch.from_numpy(np.concatenate(responses))
    return Pack(
        tokens=tokens,
        positions=torch.tensor([position for tree in placed for position in tree.positions]),
        layout=Layout(
            tuple(len(node) for tree in trees for node in tree.nodes),
            tuple(above for tree in placed for above in tree.ancestors),
        ),
        response_tokens=tokens[response_positions],
        response_positions=response_positions,
        predicting_positions=torch.from_numpy(np.concatenate(predicting)),
        response_lengths=torch.tensor([*map(len, responses)]),
        responses_in_record=torch.tensor(in_record),
        rewarded=torch.tensor(list(map(gt, in_record, chain.from_iterable(map(range, counts))))),
        chosen=chosen,
        rejected=rejected,
        margins=_margins(trees),
        reference=None if references is None else torch.from_numpy(np.concatenate(references)),
    )


def _margins(trees: Sequence[Tree]) -> torch.Tensor | None:
    """Return the margin of every pair, float32, or None if there is none."""
    margins = [tree.margin for tree in trees for _ in tree.pairs]
    return torch.tensor(margins) if any(margins) else None


@dataclass(frozen=True, slots=True)
class _Placed:
    """A tree in the row: its position ids, and indices of ancestors and of response tokens."""

    positions: list[int]
    ancestors: list[tuple[int, ...]]
    responses: list[np.ndarray]
    predicting: list[np.ndarray]


def _place(tree: Tree, first_node: int, first_token: int) -> _Placed:
    """Place a tree whose first node and first token have these indices in the pack."""
    placed = _Placed([], [], [], [])
    ends = list(accumulate(map(len, tree.nodes), initial=first_token))[1:]
    depths: list[int] = []  # position ids that follow each node
    for node, parent in zip(tree.nodes, tree.parents, strict=True):
        start, above = (depths[parent], placed.ancestors[parent]) if parent >= 0 else (0, ())
        placed.ancestors.append((*above, first_node + parent) if parent >= 0 else ())
        depths.append(start + len(node))
        placed.positions.extend(range(start, depths[-1]))
    for leaf in tree.leaves:
        response = np.arange(ends[leaf] - len(tree.nodes[leaf]), ends[leaf])
        placed.responses.append(response)
        placed.predicting.append(np.concatenate(([ends[tree.parents[leaf]] - 1], response[:-1])))
    return placed


def micro_batches(
    trees: Sequence[Tree], token_budget: int | None, device: torch.device
) -> list[list[int]]:
    """Return indices of `trees` in groups of at most `token_budget` tokens, longest trees first.

    Without a budget, as many tokens as suit the device; a larger tree then goes alone.

    Raises:
        UserError: A single tree is larger than the budget.
    """
    capacity = tokens_at_once(token_budget, device)
    sizes = [tree.size for tree in trees]
    if token_budget and max(sizes, default=0) > token_budget:
        tree = trees[sizes.index(max(sizes))]
        raise UserError(
            f"token_budget {token_budget} is smaller than record {tree.record}, which has "
            f"{tree.size} tokens; raise token_budget or set max_length"
        )
    return group_sizes(sizes, capacity)


def group_sizes(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Return indices in groups whose sizes sum to at most `capacity`, largest sizes first.

    A larger one is a group by itself.
    """
    groups: list[list[int]] = []
    room = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if not groups or sizes[i] > room:
            groups.append([])
            room = capacity
        groups[-1].append(i)
        room -= sizes[i]
    return groups


def divide_sizes(sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Return the indices that each process takes, largest sizes first to whom has least so far."""
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        lightest = loads.index(min(loads))
        shares[lightest].append(i)
        loads[lightest] += sizes[i]
    return shares


@dataclass(frozen=True)
class MicroBatch:
    """Indices, among many trees, of those of one pass; whether what it gives counts."""

    trees: list[int]
    counts: bool = True


def divide_trees(
    trees: Sequence[Tree], processes: int, token_budget: int | None, device: torch.device
) -> list[list[MicroBatch]]:
    """Divide trees among processes by their tokens, with equally many micro-batches for all.

    A sharded model exchanges weights in every pass: it would wait for ever if processes ran
    different numbers of passes. A process with fewer micro-batches therefore repeats its last one,
    and one without trees runs the first tree, which counts for nothing.

    Raises:
        UserError: A single tree is larger than the budget of `micro_batches`.
    """
    if not trees:
        return [[] for _ in range(processes)]
    plans = [
        [
            MicroBatch([share[i] for i in group])
            for group in micro_batches([trees[i] for i in share], token_budget, device)
        ]
        or [MicroBatch([0], counts=False)]
        for share in divide_sizes([tree.size for tree in trees], processes)
    ]
    passes = max(map(len, plans))
    return [
        plan + [MicroBatch(plan[-1].trees, counts=False)] * (passes - len(plan)) for plan in plans
    ]


def map_trees(
    trees: Sequence[Tree],
    compute: Callable[[Pack, Sequence[Tree]], Iterable[Result]],
    token_budget: int | None,
    device: torch.device,
    label: str,
    references: References | None = None,
    processes: Processes = ALONE,
) -> list[Result]:
    """Compute something of every tree, pack by pack, and return it in the order of the trees.

    `compute` takes a pack and its trees, and returns one result for each of them; results do not
    depend on the budget of `micro_batches`. The progress bar says `label`. Several processes,
    which all have to call this, compute a part each and all return all results.
    """
    plan = divide_trees(trees, processes.count, token_budget, device)[processes.rank]
    sizes = [sum(trees[i].size for i in micro_batch.trees) for micro_batch in plan]
    results: dict[int, Result] = {}
    for micro_batch in progress(plan, label, unit="tokens", sizes=sizes):
        members = [trees[i] for i in micro_batch.trees]
        needed = None if references is None else [references[i] for i in micro_batch.trees]
        computed = compute(pack(members, needed).to(device), members)
        if micro_batch.counts:
            results |= zip(micro_batch.trees, computed, strict=True)
    together = {i: result for part in processes.gather(results) for i, result in part.items()}
    return [together[i] for i in range(len(trees))]
