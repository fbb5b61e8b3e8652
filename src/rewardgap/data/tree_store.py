"""Trees of training records on disk: made once, read one by one, the same for every run.

A tree is a row of whole numbers (`flatten`): its counts, its shape, its tokens and its record's id.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from rewardgap.data.trees import Tree
from rewardgap.io.ragged import Ragged, write_ragged

FORMAT = 1
"""to be raised by whoever changes how trees are written here"""
SIZE, PAIRS = range(2)
COUNTS = 9
ID_DTYPE = np.dtype("<i4")

Numbers = NDArray[np.int32]


def flatten(tree: Tree) -> Numbers:
    """A tree as one row of numbers."""
    name = tree.record.encode()
    padded = name.ljust(-(-len(name) // ID_DTYPE.itemsize) * ID_DTYPE.itemsize, b"\0")
    counts = (
        *(len(tree.nodes), len(tree.lengths), len(name), tree.chosen, tree.rejected),
        *(tree.head, tree.opening, tree.closing, tree.truncated),
    )
    shape = (*counts, *tree.parents, *map(len, tree.nodes), *tree.lengths)
    tokens = (np.array(node, np.int32) for node in tree.nodes)
    return np.concatenate([np.array(shape, np.int32), np.frombuffer(padded, ID_DTYPE), *tokens])


def unflatten(numbers: Numbers) -> Tree:
    """The tree that `flatten` was given."""
    nodes, responses, name, chosen, rejected, head, opening, closing, truncated = numbers[
        :COUNTS
    ].tolist()
    words = -(-name // ID_DTYPE.itemsize)
    ends = np.cumsum([COUNTS, nodes, nodes, responses, words])
    _, parents, sizes, lengths, record, tokens = np.split(numbers, ends)
    return Tree(
        record=record.tobytes()[:name].decode(),
        nodes=tuple(tuple(node.tolist()) for node in np.split(tokens, np.cumsum(sizes)[:-1])),
        parents=tuple(parents.tolist()),
        chosen=chosen,
        rejected=rejected,
        lengths=tuple(lengths.tolist()),
        head=head,
        opening=opening,
        closing=closing,
        truncated=bool(truncated),
    )


class StoredTrees(Sequence[Tree]):
    """Trees in a file that `write_trees` has written.

    Attributes:
        records: number of records that there were.
        truncated: number of them that were truncated.
        identical: number of those that were left out, because a chosen response had become
            identical with a rejected one.
        first_identical: the id of the first one, empty where there is none.
        content: hash of all trees.
    """

    def __init__(self, path: Path):
        self._rows = Ragged(path, np.int32, columns=2)
        told = self._rows.description
        self.records: int = told["records"]
        self.truncated: int = told["truncated"]
        self.identical: int = told["identical"]
        self.first_identical: str = told["first_identical"]
        self.content: str = told["content"]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | list[Tree]:
        if isinstance(index, slice):
            return [unflatten(row) for row in self._rows[index]]
        return unflatten(self._rows[index])

    @cached_property
    def sizes(self) -> Numbers:
        """Number of tokens of every tree."""
        return self._rows.column(SIZE, np.int32)

    @cached_property
    def pairs(self) -> Numbers:
        """Number of pairs of every tree."""
        return self._rows.column(PAIRS, np.int32)

    @property
    def extremes(self) -> list[Tree]:
        """The trees with the most tokens, the longest sequence and the largest token id.

        What can compute these can compute all.
        """
        return [self[i] for i in sorted(set(self._rows.description["extremes"]))]


def content_of(trees: Sequence[Tree]) -> str:
    """A hash of all trees, wherever they are."""
    if isinstance(trees, StoredTrees):
        return trees.content
    digest = hashlib.sha256()
    for tree in trees:
        digest.update(flatten(tree).tobytes())
    return digest.hexdigest()


def write_trees(path: Path, trees: Iterable[Tree]) -> None:
    """Write trees to a file, but for those with an identical pair.

    Raises:
        UserError: the file cannot be written.
    """
    records = truncated = identical = 0
    first = ""
    largest: tuple[int, ...] = ()
    extremes: list[int] = []
    with write_ragged(path, np.int32) as writer:
        for tree in trees:
            records += 1
            truncated += tree.truncated
            if tree.has_identical_pair:
                first = first or tree.record
                identical += 1
                continue
            measures = _measures(tree)
            largest = largest or (-1,) * len(measures)
            extremes = extremes or [0] * len(measures)
            for i, measure in enumerate(measures):
                if measure > largest[i]:
                    extremes[i] = writer.rows
            largest = tuple(map(max, largest, measures))
            writer.add(flatten(tree), tree.size, tree.pair_count)
        writer.description = {
            "records": records,
            "truncated": truncated,
            "identical": identical,
            "first_identical": first,
            "extremes": extremes,
        }


def _measures(tree: Tree) -> tuple[int, int, int]:
    """Tokens, tokens of the longest sequence, and the largest token id."""
    ends: list[int] = []
    for parent, node in zip(tree.parents, tree.nodes, strict=True):
        ends.append(len(node) + (ends[parent] if parent >= 0 else 0))
    return tree.size, max(ends), max(max(node, default=0) for node in tree.nodes)
