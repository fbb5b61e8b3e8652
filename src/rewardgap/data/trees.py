"""Token trees: one record's prompt and responses as nodes of token ids.

A shared prompt is computed once: every node continues its parent, and a token attends to the
earlier tokens of its node and to all ancestors of the node, never to a sibling.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
        leaves = self.leaves
        return any(self.nodes[leaves[i]] == self.nodes[leaves[j]] for i, j in self.pairs)


def truncate(tree: Tree, max_length: int) -> Tree:
    """Shorten every sequence of a tree with one root to at most `max_length` tokens.

    The prompt is cut first, on the left after BOS. A response is cut only if it does not fit after
    the turn that opens it: on the right, before its end-of-turn tokens.

    Raises:
        UserError: `max_length` leaves no room for one token of a response.
    """
    least = tree.head + tree.opening + tree.closing + 1
    if max_length < least:
        reason = f"max_length {max_length} leaves no room for a response"
        raise UserError(f"{reason}; it must be at least {least}")
    prompt, *responses = tree.nodes
    room = max(max_length - max(map(len, responses)), tree.head + tree.opening)
    prompt = _cut(prompt, room, first=tree.head)
    room = max_length - len(prompt)
    nodes = (prompt, *(_cut(y, room, first=room - tree.closing) for y in responses))
    return tree if nodes == tree.nodes else replace(tree, nodes=nodes, truncated=True)


def _cut(tokens: Tokens, room: int, first: int) -> Tokens:
    """Return the `first` tokens and then the last ones, `room` in all; all tokens if they fit."""
    if len(tokens) <= room:
        return tokens
    return tokens[:first] + tokens[len(tokens) - (room - first) :]
