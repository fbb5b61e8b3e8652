"""What trees ask of a model, counted without reading their tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardgap.data.tree_store import StoredTrees
from rewardgap.data.trees import Tree

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class TreeCounts:
    """Numbers of n trees, each an (n,) int64 array.

    Attributes:
        pairs: Pairs of a chosen and a rejected response.
        tokens: Tokens, those of a shared prompt once.
        sequences: Tokens of all sequences, of a prompt once for every response.
        responses: Leaves.
        response_tokens: Tokens of the leaves.
        attended: Pairs of a token and one that it sees, itself included.
        gathered: Tokens of the sequences up to each node that has a parent: the keys that
            attention gathers from several nodes.
        scored: Pairs of a token of such a node and any token of the sequence up to its end.
    """

    pairs: Counts
    tokens: Counts
    sequences: Counts
    responses: Counts
    response_tokens: Counts
    attended: Counts
    gathered: Counts
    scored: Counts

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Self:
        """Count trees, in memory or in a file, of which no token is read."""
        if isinstance(trees, StoredTrees):
            return cls._of_nodes(trees.pairs, *trees.nodes)
        nodes = [len(tree.nodes) for tree in trees]
        lengths = [len(node) for tree in trees for node in tree.nodes]
        parents = [parent for tree in trees for parent in tree.parents]
        return cls._of_nodes([tree.pair_count for tree in trees], nodes, lengths, parents)

    @classmethod
    def _of_nodes(
        cls, pairs: ArrayLike, nodes: ArrayLike, lengths: ArrayLike, parents: ArrayLike
    ) -> Self:
        """Count (n,) trees of so many nodes; lengths and parents are those of all nodes in turn."""
        counts, size, parent = (
            np.asarray(values, dtype=np.int64) for values in (nodes, lengths, parents)
        )
        tree = np.repeat(np.arange(len(counts)), counts)
        above_all = np.where(parent >= 0, parent + np.repeat(counts.cumsum() - counts, counts), -1)
        above, ancestor = np.zeros_like(size), above_all
        while (ancestor >= 0).any():
            above += np.where(ancestor >= 0, size[ancestor], 0)
            ancestor = np.where(ancestor >= 0, above_all[ancestor], -1)
        inner = np.zeros(len(size), dtype=bool)
        inner[above_all[above_all >= 0]] = True
        continues = parent >= 0

        def total(values: Counts) -> Counts:
            return np.bincount(tree, values, len(counts)).astype(np.int64)

        return cls(
            pairs=np.asarray(pairs, dtype=np.int64),
            tokens=total(size),
            sequences=total((above + size) * ~inner),
            responses=total(~inner),
            response_tokens=total(size * ~inner),
            attended=total(size * above + size * (size + 1) // 2),
            gathered=total((above + size) * continues),
            scored=total(size * (above + size) * continues),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def sums(self, groups: Sequence[Sequence[int]]) -> Self:
        """Return the sums over groups of trees; a tree may be in several, and no group is empty."""
        members = np.fromiter(chain.from_iterable(groups), dtype=np.int64)
        starts = np.cumsum([0, *map(len, groups)])[:-1]
        return self._each(lambda values: np.add.reduceat(values[members], starts))

    def total(self) -> Self:
        """Return the sums over all trees, as counts of one."""
        return self._each(lambda values: values.sum(keepdims=True))

    def times(self, factor: int) -> Self:
        """Return the counts of the same trees so many times."""
        return self._each(lambda values: values * factor)

    def _each(self, change: Callable[[Counts], Counts]) -> Self:
        return type(self)(*(change(getattr(self, field.name)) for field in fields(self)))
