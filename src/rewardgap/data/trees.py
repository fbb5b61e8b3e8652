"""Token trees: one record's prompt and responses as nodes of token ids.

A shared prompt is computed once: every node continues its parent, and a token attends to the
earlier tokens of its node and to all ancestors of the node, never to a sibling.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile

from rewardgap.errors import UserError

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """One record as token ids.

    The nodes without children are the leaves. The first `chosen + rejected` leaves are the record's
    responses, chosen ones first; a kind may add leaves for its loss.

    Attributes:
        record: Id of the record.
        nodes: Token ids of every node.
        parents: `nodes[i]` continues `nodes[parents[i]]`; -1 for a root.
        chosen: Number of chosen responses.
        rejected: Number of rejected responses.
        lengths: Number of tokens of every response before any truncation.
        head: Number of tokens that truncation keeps at the start of a root (BOS).
        opening: Number of tokens that truncation keeps at the end of a root (the turn that opens
            the response).
        closing: Number of tokens that truncation keeps at the end of a leaf (the end of the turn).
        truncated: Whether the tree was truncated.
        moved: Whether a response begins before the prompt's end, because their tokens merge or the
            template writes another beginning of the response than its generation prompt.
        margin: By how much the chosen rewards are to exceed the rejected ones in the loss.
    """

    record: str
    nodes: tuple[Tokens, ...]
    parents: tuple[int, ...]
    chosen: int
    rejected: int
    lengths: tuple[int, ...]
    head: int = 0
    opening: int = 1
    closing: int = 1
    truncated: bool = False
    moved: bool = False
    margin: float = 0.0

    @property
    def leaves(self) -> tuple[int, ...]:
        """Indices of the nodes without children, in order."""
        inner = set(self.parents)
        return tuple(node for node in range(len(self.nodes)) if node not in inner)

    @property
    def size(self) -> int:
        """Number of tokens, of which a forward pass computes each once."""
        return sum(map(len, self.nodes))

    def path(self, node: int) -> tuple[int, ...]:
        """Return the indices of the nodes from the root to `node`, inclusive."""
        parent = self.parents[node]
        return (*self.path(parent), node) if parent >= 0 else (node,)

    def sequence(self, leaf: int) -> Tokens:
        """Return the whole token sequence of a leaf, as a model without trees would read it."""
        return tuple(token for node in self.path(leaf) for token in self.nodes[node])

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """Indices into `leaves` of every (chosen, rejected) pair."""
        for chosen in range(self.chosen):
            for rejected in range(self.chosen, self.chosen + self.rejected):
                yield chosen, rejected

    @property
    def pair_count(self) -> int:
        """Number of (chosen, rejected) pairs."""
        return self.chosen * self.rejected

    @property
    def has_identical_pair(self) -> bool:
        """Whether a chosen response has the same tokens as a rejected one."""
        leaves = [(self.parents[leaf], self.nodes[leaf]) for leaf in self.leaves]
        return any(leaves[i] == leaves[j] for i, j in self.pairs)


def shared_length(*sequences: Tokens) -> int:
    """Return the number of tokens that all sequences begin with."""
    columns = takewhile(lambda ids: len(set(ids)) == 1, zip(*sequences, strict=False))
    return sum(1 for _ in columns)


def divide(
    prompt: Tokens, sequences: Sequence[Tokens]
) -> tuple[tuple[Tokens, ...], tuple[int, ...]]:
    """Return the nodes and parents of a tree of whole sequences, one leaf for each, in order.

    A response is what follows the longest common beginning of its sequence and the prompt. It thus
    depends on no other response: where these beginnings differ in length, the prompt is divided
    into a chain of nodes, and a leaf continues the node where its response begins.
    """
    borders = [
        len(prompt) if tokens[: len(prompt)] == prompt else shared_length(prompt, tokens)
        for tokens in sequences
    ]
    ends = sorted(set(borders))
    chain = tuple(prompt[start:end] for start, end in pairwise([0, *ends]))
    leaves = tuple(tokens[border:] for tokens, border in zip(sequences, borders, strict=True))
    return chain + leaves, (*range(-1, len(ends) - 1), *map(ends.index, borders))


def group_by_prompt(trees: Iterable[Tree], capacity: int) -> list[list[int]]:
    """Return the indices of trees in groups of one prompt, which then needs computing only once.

    A group has at most `capacity` tokens, of which the prompt's count once; a larger tree is alone,
    and so is one whose last nodes are not its responses.
    """
    groups: list[list[int]] = []
    latest: dict[object, tuple[list[int], int]] = {}
    for index, tree in enumerate(trees):
        inner = len(tree.nodes) - len(tree.lengths)
        prompt = tree.nodes[:inner], tree.parents[:inner]
        added = sum(map(len, tree.nodes[inner:]))
        group, size = latest.get(prompt, ([], 0))
        if group and size + added <= capacity and _ends_in_responses(tree):
            group.append(index)
            latest[prompt] = group, size + added
            continue
        groups.append([index])
        if _ends_in_responses(tree):
            latest[prompt] = groups[-1], tree.size
    return groups


def _ends_in_responses(tree: Tree) -> bool:
    last = range(len(tree.nodes) - len(tree.lengths), len(tree.nodes))
    return tree.leaves == tuple(last)


def join_responses(trees: Sequence[Tree]) -> Tree:
    """Return a tree with the leaves of all trees of a group of `group_by_prompt`, in order."""
    first, *others = trees
    inner = len(first.nodes) - len(first.lengths)
    return replace(
        first,
        nodes=sum((tree.nodes[inner:] for tree in others), first.nodes),
        parents=sum((tree.parents[inner:] for tree in others), first.parents),
        chosen=sum(len(tree.lengths) for tree in trees),
        rejected=0,
        lengths=sum((tree.lengths for tree in others), first.lengths),
        margin=0.0,
    )


def truncate(tree: Tree, max_length: int) -> Tree:
    """Shorten every sequence of a tree with one root to at most `max_length` tokens.

    The prompt is cut first, on the left after BOS. A response is cut only if it does not fit after
    the turn that opens it: on the right, before its end-of-turn tokens.

    Raises:
        UserError: `max_length` leaves no room for one token of a response.
    """
    leaves = tree.leaves
    between = [sum(len(tree.nodes[node]) for node in tree.path(leaf)[1:-1]) for leaf in leaves]
    least = tree.head + tree.opening + max(between) + tree.closing + 1
    if max_length < least:
        reason = f"max_length {max_length} leaves no room for a response"
        raise UserError(f"{reason}; it must be at least {least}")
    nodes = list(tree.nodes)
    longest = max(len(nodes[leaf]) + size for leaf, size in zip(leaves, between, strict=True))
    room = max(max_length - longest, tree.head + tree.opening)
    nodes[0] = _cut(nodes[0], room, first=tree.head)
    for leaf, size in zip(leaves, between, strict=True):
        room = max_length - len(nodes[0]) - size
        nodes[leaf] = _cut(nodes[leaf], room, first=room - tree.closing)
    cut = tuple(nodes)
    return tree if cut == tree.nodes else replace(tree, nodes=cut, truncated=True)


def _cut(tokens: Tokens, room: int, first: int) -> Tokens:
    """Return the `first` tokens and then the last ones, `room` in all; all tokens if they fit."""
    if len(tokens) <= room:
        return tokens
    return tokens[:first] + tokens[len(tokens) - (room - first) :]
