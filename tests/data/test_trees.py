"""Token trees: truncation, packing and batching against hand-made examples and brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from forests import DEEP, FURTHER, PAIR, forests
from hypothesis import given
from hypothesis import strategies as st

from rewardgap.data.trees import Tree, group_by_prompt, join_responses, truncate
from rewardgap.errors import UserError
from rewardgap.models.packing import Layout, micro_batches, pack

CPU = torch.device("cpu")


@st.composite
def texts(draw: st.DrawFn) -> Tree:
    """A prompt with one to four responses; every token is another number."""
    head, opening, closing = draw(st.tuples(st.integers(0, 1), *[st.integers(1, 3)] * 2))
    sizes = [head + opening + draw(st.integers(0, 20))]
    sizes += [closing + draw(st.integers(1, 20)) for _ in range(draw(st.integers(1, 4)))]
    ends = np.cumsum(sizes)
    nodes = tuple(tuple(range(b - n, b)) for n, b in zip(sizes, ends.tolist(), strict=True))
    children = len(nodes) - 1
    return Tree(
        "text", nodes, (-1, *[0] * children), children, 0, tuple(sizes[1:]), head, opening, closing
    )


@given(st.lists(st.tuples(st.sampled_from([(1,), (1, 2)]), st.integers(1, 3)), max_size=9))
def test_trees_of_one_prompt_are_joined_up_to_a_size(drawn):
    trees = [
        Tree(str(i), (prompt, *[(i, k) for k in range(n)]), (-1, *[0] * n), n, 0, (2,) * n)
        for i, (prompt, n) in enumerate(drawn)
    ]
    groups = group_by_prompt(trees, 9)
    assert sorted(i for group in groups for i in group) == list(range(len(trees)))
    for group in groups:
        joined = join_responses([trees[i] for i in group])
        sequences = [trees[i].sequence(leaf) for i in group for leaf in trees[i].leaves]
        assert [joined.sequence(leaf) for leaf in joined.leaves] == sequences
        assert joined.size <= 9 and (joined.chosen, joined.rejected) == (len(sequences), 0)
    by_prompt = {prompt: sum(n for other, n in drawn if other == prompt) for prompt, _ in drawn}
    if all(len(prompt) + 2 * count <= 9 for prompt, count in by_prompt.items()):
        assert len(groups) == len(by_prompt)


def test_a_chain_of_prompts_is_joined_and_leaves_of_a_loss_are_not():
    one = replace(DEEP, chosen=2, rejected=0, lengths=(1, 2))
    assert group_by_prompt([one, one], 99) == [[0, 1]]
    twice = join_responses([one, one])
    assert [twice.sequence(leaf) for leaf in twice.leaves] == 2 * [
        one.sequence(leaf) for leaf in one.leaves
    ]
    with_text = replace(one, lengths=(1,), chosen=1)
    assert group_by_prompt([with_text, with_text], 99) == [[0], [1]]


def test_a_tree_knows_its_leaves_paths_and_pairs():
    tree = replace(DEEP, chosen=1, rejected=1)
    assert (tree.leaves, tree.size, tree.path(3)) == ((2, 3), 6, (0, 1, 3))
    assert tree.sequence(3) == (11, 12, 13, 15, 16)
    many = Tree("m", ((0,), *[(i,) for i in range(1, 6)]), (-1, *[0] * 5), 2, 3, (1,) * 5)
    assert list(many.pairs) == [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)]


@given(texts(), st.integers(1, 50))
def test_truncation(tree, max_length):
    kept = tree.head + tree.opening
    if kept + tree.closing >= max_length:
        with pytest.raises(UserError, match=f"at least {kept + tree.closing + 1}"):
            truncate(tree, max_length)
        return
    cut = truncate(tree, max_length)
    before = [tree.sequence(leaf) for leaf in tree.leaves]
    longest = max(len(cut.sequence(leaf)) for leaf in cut.leaves)
    too_long = max(map(len, before)) > max_length
    assert cut.truncated == too_long == (cut.nodes != tree.nodes)
    assert longest == max_length if too_long else cut is tree
    prompt, *responses = cut.nodes
    assert len(prompt) >= kept
    whole = tree.nodes[0]
    assert prompt == whole[: tree.head] + whole[len(whole) - len(prompt) + tree.head :]
    for response, whole in zip(responses, tree.nodes[1:], strict=True):
        assert response[-tree.closing :] == whole[-tree.closing :]
        assert response[: -tree.closing] == whole[: len(response) - tree.closing]
        assert len(response) > tree.closing
        assert response == whole or kept + len(whole) > max_length
    assert cut.lengths == tree.lengths


def test_truncation_can_make_a_pair_identical():
    tree = Tree("t", ((1, 2), (3, 4, 5, 9), (3, 4, 6, 9)), (-1, 0, 0), 1, 1, (4, 4))
    assert not tree.has_identical_pair
    assert not truncate(tree, 5).has_identical_pair
    cut = truncate(tree, 4)
    assert cut.nodes == ((2,), (3, 4, 9), (3, 4, 9)) and cut.has_identical_pair
    twins = Tree("t", ((1,), (3,), (3,), (4,)), (-1, 0, 0, 0), 2, 1, (1,) * 3)
    assert not twins.has_identical_pair, "only a chosen and a rejected response make a pair"
    assert replace(twins, chosen=1, rejected=2).has_identical_pair


def test_a_pack_by_hand():
    references = [np.array(x, np.float32) for x in ([1, 2, 3], [4, 5, 6], [7, 8, 9])]
    packed = pack([PAIR, DEEP, FURTHER], references)
    expected = {
        "tokens": [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 2, 3, 4, 5, 6],
        "positions": [0, 1, 2, 3, 4, 3, 0, 1, 2, 3, 3, 4, 0, 1, 1, 0, 1, 2],
        "response_tokens": [8, 9, 10, 14, 15, 16, 2, 3, 6],
        "response_positions": [3, 4, 5, 9, 10, 11, 13, 14, 17],
        "predicting_positions": [2, 3, 2, 8, 8, 10, 12, 12, 16],
        "response_lengths": [2, 1, 1, 2, 1, 1, 1],
        "responses_in_record": [2] * 7,
        "rewarded": [True] * 6 + [False],
        "chosen": [0, 2, 4],
        "rejected": [1, 3, 5],
        "reference": [1, 2, 3, 4, 5, 6, 7, 8, 9],
    }
    assert {name: getattr(packed, name).tolist() for name in expected} == expected
    assert packed.layout == Layout(
        (3, 2, 1, 1, 2, 1, 2, 1, 1, 1, 2, 1),
        ((), (0,), (0,), (), (3,), (3, 4), (3, 4), (), (7,), (7,), (), (10,)),
    )
    assert packed.to(torch.device("meta")).tokens.is_meta
    assert pack([PAIR]).reference is None


@given(st.lists(forests(), min_size=1, max_size=4))
def test_packs_by_brute_force(trees):
    packed = pack(trees)
    sequences = [tree.sequence(leaf) for tree in trees for leaf in tree.leaves]
    lengths = packed.response_lengths.tolist()
    ends = np.cumsum(lengths)
    assert (
        packed.response_positions.shape
        == packed.predicting_positions.shape
        == packed.response_tokens.shape
    )
    for sequence, end, length in zip(sequences, ends, lengths, strict=True):
        here, before = (
            packed.response_positions[end - length : end],
            packed.predicting_positions[end - length : end],
        )
        assert tuple(packed.tokens[here].tolist()) == sequence[-length:]
        assert tuple(packed.tokens[before].tolist()) == sequence[-length - 1 : -1]
        positions = list(range(len(sequence)))
        assert packed.positions[here].tolist() == positions[-length:]
        assert packed.positions[before].tolist() == positions[-length - 1 : -1]
    pairs, first = [], 0
    for tree in trees:
        leaves = range(first, first + tree.chosen + tree.rejected)
        pairs += [(i, j) for i in leaves[: tree.chosen] for j in leaves[tree.chosen :]]
        first += len(tree.leaves)
    assert list(zip(packed.chosen.tolist(), packed.rejected.tolist(), strict=True)) == pairs
    rewarded = [i < t.chosen + t.rejected for t in trees for i, _ in enumerate(t.leaves)]
    assert packed.rewarded.tolist() == rewarded


@given(st.lists(st.integers(2, 30), max_size=20), st.integers(30, 70))
def test_micro_batches_hold_every_tree_once_within_the_budget(sizes, budget):
    trees = [Tree("t", ((0,), (1,) * (n - 1)), (-1, 0), 1, 0, (n - 1,)) for n in sizes]
    groups = micro_batches(trees, budget, CPU)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    assert all(0 < sum(sizes[i] for i in group) <= budget for group in groups)
    order = [sizes[i] for group in groups for i in group]
    assert order == sorted(order, reverse=True)


def test_a_tree_beyond_the_budget_is_named():
    with pytest.raises(
        UserError, match="token_budget 5 is smaller than record pair, which has 6 tokens"
    ):
        micro_batches([replace(DEEP, nodes=((1,),) * 4), PAIR], 5, CPU)


def test_without_a_budget_a_large_tree_goes_alone():
    large = replace(DEEP, nodes=((1,) * 3000, *DEEP.nodes[1:]))
    assert micro_batches([PAIR, large, PAIR], None, CPU) == [[1], [0, 2]]
    assert micro_batches([PAIR, large, PAIR], None, torch.device("cuda")) == [[1, 0, 2]]
