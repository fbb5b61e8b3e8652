"""Trees on disk: the same ones back, and what is to be known of all without reading them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.data import tree_store
from rewardgap.data.tree_store import StoredTrees, content_of, write_trees
from rewardgap.data.trees import Tree

tokens = st.lists(st.integers(0, 2**31 - 1), max_size=6).map(tuple)
counts = st.integers(0, 2**31 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@st.composite
def trees(draw: Callable) -> Tree:
    """Trees of any shape, with one chosen and one rejected leaf at least."""
    inner = draw(st.integers(1, 3))
    responses = draw(st.integers(2, 4))
    shape = [draw(st.integers(-1, i - 1)) for i in range(inner)]
    inner_nodes = range(inner)
    parents = (*shape, *(draw(st.sampled_from(inner_nodes)) for _ in range(responses)))
    # Every inner node gets a leaf, so that the leaves begin with the responses.
    parents = (*parents, *(node for node in inner_nodes if node not in parents))
    chosen = draw(st.integers(1, responses - 1))
    return Tree(
        record=draw(names),
        nodes=tuple(draw(tokens) for _ in parents),
        parents=parents,
        chosen=chosen,
        rejected=responses - chosen,
        lengths=tuple(draw(counts) for _ in range(responses)),
        head=draw(counts),
        opening=draw(counts),
        closing=draw(counts),
        truncated=draw(st.booleans()),
        moved=draw(st.booleans()),
    )


@given(st.lists(trees(), max_size=8))
def test_a_file_gives_back_all_trees_but_those_with_an_identical_pair(given_trees):
    kept = [tree for tree in given_trees if not tree.has_identical_pair]
    left_out = [tree.record for tree in given_trees if tree.has_identical_pair]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_store, "BATCH_TREES", 3)
        patch.setattr(tree_store, "BATCH_TOKENS", 30)
        write_trees(Path(folder) / "trees", iter(given_trees))
        stored = StoredTrees(Path(folder) / "trees")
        assert list(stored) == kept and len(stored) == len(kept)
        assert {type(token) for tree in stored for node in tree.nodes for token in node} <= {int}
        assert all(type(tree.truncated) is bool for tree in stored)
        assert stored[1:] == kept[1:]
        assert stored.sizes.tolist() == [tree.size for tree in kept]
        assert stored.pairs.tolist() == [len(list(tree.pairs)) for tree in kept]
        assert stored.summary.records == len(given_trees)
        assert stored.summary.truncated == sum(tree.truncated for tree in given_trees)
        assert (stored.summary.identical, stored.summary.first_identical) == (
            len(left_out),
            left_out[0] if left_out else "",
        )
        moved = [tree.record for tree in given_trees if tree.moved]
        assert (stored.summary.moved, stored.summary.first_moved) == (
            len(moved),
            (moved or [""])[0],
        )
        assert content_of(stored) == content_of(kept)
        assert_extreme(stored.extremes, kept)


def assert_extreme(extremes: list[Tree], trees: list[Tree]) -> None:
    assert len(extremes) <= 3
    for measure in (
        lambda tree: tree.size,
        lambda tree: max(len(tree.sequence(leaf)) for leaf in tree.leaves),
        lambda tree: max(max(node, default=0) for node in tree.nodes),
    ):
        assert max(map(measure, extremes), default=0) == max(map(measure, trees), default=0)


def test_the_content_depends_on_every_part():
    tree = Tree("a", ((1,), (2,), (3,)), (-1, 0, 0), 1, 1, (1, 1))
    others = [
        replace(tree, record="b"),
        replace(tree, nodes=((1,), (3,), (2,))),
        replace(tree, nodes=((1, 2), (), (3,))),
        replace(tree, parents=(-1, 0, 1)),
        replace(tree, truncated=True),
    ]
    found = {content_of([each]) for each in [tree, *others]} | {content_of([tree, tree])}
    assert len(found) == len(others) + 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Reading 50 MB of trees from end to end takes no memory of the process for them."""
    tree = Tree("a" * 16, ((1,) * 1000, (2,) * 1000, (3,) * 1000), (-1, 0, 0), 1, 1, (1000, 1000))
    write_trees(tmp_path / "trees", (tree for _ in range(4000)))

    def anonymous() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])

    stored = StoredTrees(tmp_path / "trees")
    assert (tmp_path / "trees").stat().st_size > 45_000_000
    before = anonymous()
    assert sum(tree.size for tree in stored) == 12_000_000
    assert anonymous() - before < 10_000  # kB
