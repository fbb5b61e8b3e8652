"""Token trees of training records on disk: written once, read one by one, the same for every run.

The column `tree` holds the fields of a tree, `size` and `pairs` its numbers of tokens and pairs.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rewardgap.data.trees import Tree
from rewardgap.io.tables import MappedTable, write_table

FORMAT = 4
"""To be raised with every change of how trees are written here."""
BATCH_TREES = 4096
BATCH_TOKENS = 2**20
DESCRIPTION = b"description"

NUMBERS = pa.list_(pa.int32())
TREE = pa.struct(
    {
        "record": pa.string(),
        "nodes": pa.list_(NUMBERS),
        "parents": NUMBERS,
        **dict.fromkeys(("chosen", "rejected"), pa.int32()),
        "lengths": NUMBERS,
        **dict.fromkeys(("head", "opening", "closing"), pa.int32()),
        **dict.fromkeys(("truncated", "moved"), pa.bool_()),
        "margin": pa.float64(),
    }
)
SCHEMA = pa.schema([("tree", TREE), ("size", pa.int32()), ("pairs", pa.int32())])


@dataclass
class TreeSummary:
    """What is known of all trees of a file.

    Attributes:
        records: Number of records that there were.
        truncated: Number of them that were truncated.
        identical: Number of records that were left out, because a chosen response had become
            identical with a rejected one.
        first_identical: Id of the first of these, empty if there is none.
        identical_untruncated: Number of them that were not truncated.
        moved: Number of records of which a response begins before the prompt's end.
        first_moved: Id of the first of these, empty if there is none.
        dropped: Records that could not be used, each as [id or location, reason].
        content: Hash of all trees.
        trees: Number of trees that are written.
        largest: Most tokens, most tokens of a sequence, and largest token id.
        extremes: Row of the first tree with each of these.
    """

    records: int = 0
    truncated: int = 0
    identical: int = 0
    first_identical: str = ""
    identical_untruncated: int = 0
    moved: int = 0
    first_moved: str = ""
    dropped: list[list[str]] = field(default_factory=list)
    content: str = ""
    trees: int = 0
    largest: list[int] = field(default_factory=list)
    extremes: list[int] = field(default_factory=list)

    def add(self, tree: Tree) -> bool:
        """Count a tree; return whether it is to be written."""
        self.records += 1
        self.truncated += tree.truncated
        if tree.moved:
            self.first_moved = self.first_moved or tree.record
            self.moved += 1
        if tree.has_identical_pair:
            self.first_identical = self.first_identical or tree.record
            self.identical += 1
            self.identical_untruncated += not tree.truncated
            return False
        measures = _measures(tree)
        if not self.trees:
            self.largest, self.extremes = measures, [0] * len(measures)
        for i, measure in enumerate(measures):
            if measure > self.largest[i]:
                self.largest[i], self.extremes[i] = measure, self.trees
        self.trees += 1
        return True


class StoredTrees(Sequence[Tree]):
    """Trees in a file that `write_trees` has written; `summary` says what is known of them all."""

    def __init__(self, path: Path):
        self._table = MappedTable(path)
        self.summary = TreeSummary(**json.loads(self._table.metadata[DESCRIPTION]))

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | list[Tree]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        tree = self._table.cell("tree", index).as_py()
        nodes = tuple(map(tuple, tree.pop("nodes")))
        parents, lengths = tuple(tree.pop("parents")), tuple(tree.pop("lengths"))
        return Tree(nodes=nodes, parents=parents, lengths=lengths, **tree)

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """Number of tokens of every tree."""
        return self._table.column("size")

    @cached_property
    def pairs(self) -> NDArray[np.int32]:
        """Number of pairs of every tree."""
        return self._table.column("pairs")

    @cached_property
    def nodes(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Number of nodes of every tree; lengths and parents of all nodes, one tree after another.

        The tokens themselves are not read.
        """
        columns = [
            (
                np.diff(nodes.offsets),
                np.diff(nodes.flatten().offsets),
                chunk.field("parents").flatten(),
            )
            for chunk in self._table.chunks("tree")
            for nodes in [chunk.field("nodes")]
        ]
        counts, lengths, parents = map(np.concatenate, zip(*columns, strict=True))
        return counts, lengths, parents

    @property
    def extremes(self) -> list[Tree]:
        """The trees with the most tokens, the longest sequence and the largest token id.

        If a model can compute these, it can compute every tree.
        """
        return [self[row] for row in sorted(set(self.summary.extremes))]


def _measures(tree: Tree) -> list[int]:
    """Return tokens, tokens of the longest sequence, and the largest token id."""
    ends: list[int] = []
    for parent, node in zip(tree.parents, tree.nodes, strict=True):
        ends.append(len(node) + (ends[parent] if parent >= 0 else 0))
    return [tree.size, max(ends), max(max(node, default=0) for node in tree.nodes)]


def write_trees(path: Path, trees: Iterable[Tree], dropped: Sequence[tuple[str, str]] = ()) -> None:
    """Write trees to a file, except those with an identical pair.

    `dropped` are records without a tree, which may be added while `trees` are made.
    """
    summary, digest = TreeSummary(), hashlib.sha256()
    with write_table(path, SCHEMA) as writer:
        for batch in _batches(filter(summary.add, trees)):
            digest.update(batch.serialize())
            writer.write_batch(batch)
        summary.dropped = [*map(list, dropped)]
        summary.content = digest.hexdigest()
        description = {DESCRIPTION: json.dumps(asdict(summary))}
        writer.write_batch(_to_arrow([]), custom_metadata=description)


def content_of(trees: Sequence[Tree]) -> str:
    """Return a hash of all trees, the same in memory and on disk."""
    if isinstance(trees, StoredTrees):
        return trees.summary.content
    digest = hashlib.sha256()
    for batch in _batches(trees):
        digest.update(batch.serialize())
    return digest.hexdigest()


def _batches(trees: Iterable[Tree]) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most `BATCH_TREES` trees and about `BATCH_TOKENS` tokens."""
    batch: list[Tree] = []
    tokens = 0
    for tree in trees:
        batch.append(tree)
        tokens += tree.size
        if len(batch) == BATCH_TREES or tokens >= BATCH_TOKENS:
            yield _to_arrow(batch)
            batch, tokens = [], 0
    if batch:
        yield _to_arrow(batch)


def _to_arrow(trees: Sequence[Tree]) -> pa.RecordBatch:
    fields = [pa.array([getattr(tree, key.name) for tree in trees], key.type) for key in TREE]
    columns = [
        pa.StructArray.from_arrays(fields, fields=list(TREE)),
        pa.array([tree.size for tree in trees], pa.int32()),
        pa.array([tree.pair_count for tree in trees], pa.int32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
