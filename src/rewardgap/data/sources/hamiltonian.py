"""The `hamiltonian` source: a Hamiltonian cycle of a graph against another permutation.

Checking a cycle is easy and finding one is hard, so a model can learn to verify what it cannot
generate (figure 3 of the paper).
"""

import re
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TypeVar

import numpy as np

from rewardgap.data.readers import numbered
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

SEPARATOR = "[sep]"
EDGE_SEPARATOR = "[edge_sep]"
PROMPT = re.compile(r"Vertices: (.*)\nEdges: (.*)")
MAX_REPEATS = 1000  # graphs in a row that were drawn before

Edge = frozenset[int]
Vertex = TypeVar("Vertex", int, str)


@dataclass(frozen=True)
class Graph:
    """A graph by a Hamiltonian cycle and all edges, in the order of the prompt."""

    cycle: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def prompt(self) -> str:
        """The graph as text; the smaller vertex of an edge comes first."""
        vertices = "".join(f"{SEPARATOR}{vertex}" for vertex in range(len(self.cycle)))
        edges = "".join(
            SEPARATOR + EDGE_SEPARATOR.join(map(str, sorted(ends))) for ends in self.edges
        )
        return f"Vertices: {vertices}\nEdges: {edges}"


def rows(
    part: str,
    *,
    vertices: int = 10,
    edge_probability: float = 0.2,
    seed: int = 0,
    train: int = 1000,
    test: int = 200,
    walks: int = 40_000,
) -> Rows:
    """Make graphs with a Hamiltonian cycle as chosen and another permutation as rejected response.

    No two graphs of the training and test parts have the same edges. The test graphs do not depend
    on `train`.

    The part "walks" is text to pretrain on, conversations in `messages` instead of pairs: a graph
    that is no test graph, and a random walk along its edges. It teaches a model to look up edges,
    and nothing about cycles.

    Graphs have `vertices` vertices, at least 4, and each edge outside the cycle with a probability
    of `edge_probability`, in [0, 1).
    """
    if vertices < 4:
        raise UserError(f"`vertices` must be at least 4 (on 3 all are cycles), not {vertices}")
    if not 0 <= edge_probability < 1:
        raise UserError(f"`edge_probability` must be in [0, 1), not {edge_probability}")
    sizes = {"test": test, "train": 0 if part == "walks" else train}
    seen: set[frozenset[Edge]] = set()
    parts: dict[str, list[Row]] = {}
    for stream, (name, size) in enumerate(sizes.items()):
        generator = np.random.default_rng((seed, stream))
        graphs = _unseen_graphs(vertices, edge_probability, generator, seen)
        parts[name] = []
        for graph in islice(graphs, size):
            seen.add(frozenset(graph.edges))
            parts[name].append(_row(graph, generator))
    if part == "walks":
        generator = np.random.default_rng((seed, len(sizes)))
        graphs = _unseen_graphs(vertices, edge_probability, generator, seen)
        parts[part] = [_walk(graph, generator) for graph in islice(graphs, walks)]
    return numbered(f"hamiltonian:{part}", parts[part])


def is_hamiltonian_cycle(prompt: str, response: str) -> bool:
    """Return whether a response is a Hamiltonian cycle of a prompt's graph.

    It is one if it is a permutation of all vertices, joined by `SEPARATOR` and any white space, and
    an edge joins every two neighbours and the last vertex and the first.

    Raises:
        UserError: The prompt describes no graph.
    """
    match = PROMPT.fullmatch(prompt)
    if not match:
        raise UserError(f"{prompt[:40]!r}…: no prompt of the `hamiltonian` source")
    vertices, listed = (_split(group, SEPARATOR)[1:] for group in match.groups())
    edges = {frozenset(_split(edge, EDGE_SEPARATOR)) for edge in listed}
    order = _split(response, SEPARATOR)
    return sorted(order) == sorted(vertices) and _closes(order, edges)


def _split(text: str, separator: str) -> list[str]:
    return [item.strip() for item in text.split(separator)]


def _closes(order: Sequence[Vertex], edges: Collection[frozenset[Vertex]]) -> bool:
    """Return whether edges join every vertex to the next, and the last to the first."""
    return all(frozenset(step) in edges for step in zip(order, [*order[1:], order[0]], strict=True))


def _unseen_graphs(
    vertices: int, probability: float, generator: np.random.Generator, seen: Set[frozenset[Edge]]
) -> Iterator[Graph]:
    """Yield random graphs whose edges are not in `seen`, nor all that there can be."""
    repeats = 0
    while repeats < MAX_REPEATS:
        graph = _draw_graph(vertices, probability, generator)
        complete = len(graph.edges) == vertices * (vertices - 1) // 2
        if complete or frozenset(graph.edges) in seen:
            repeats += 1
            continue
        repeats = 0
        yield graph
    raise UserError(
        f"there are few more than {len(seen)} different graphs of {vertices} vertices with "
        f"`edge_probability` {probability}: lower `train` or `test`, or raise `vertices`"
    )


def _draw_graph(vertices: int, probability: float, generator: np.random.Generator) -> Graph:
    cycle = generator.permutation(vertices).tolist()
    steps = [frozenset(step) for step in zip(cycle, [*cycle[1:], cycle[0]], strict=True)]
    pairs = (frozenset(pair) for pair in combinations(range(vertices), 2))
    chords = [pair for pair in pairs if pair not in steps and generator.random() < probability]
    edges = steps + chords
    shuffled = tuple(edges[index] for index in generator.permutation(len(edges)))
    return Graph(tuple(cycle), shuffled)


def _row(graph: Graph, generator: np.random.Generator) -> Row:
    permutation = graph.cycle
    while _closes(permutation, graph.edges):
        permutation = tuple(generator.permutation(len(graph.cycle)).tolist())
    chosen, rejected = (SEPARATOR.join(map(str, order)) for order in (graph.cycle, permutation))
    return {"prompt": graph.prompt, "chosen": chosen, "rejected": rejected}


def _walk(graph: Graph, generator: np.random.Generator) -> Row:
    """Return a conversation: a graph of N vertices, and a random walk over N to 3N vertices."""
    vertices = len(graph.cycle)
    walk = [int(generator.integers(vertices))]
    for _ in range(generator.integers(vertices - 1, 3 * vertices)):
        ends = set().union(*(edge for edge in graph.edges if walk[-1] in edge))
        walk.append(int(generator.choice(sorted(ends - {walk[-1]}))))
    turns = {"user": graph.prompt, "assistant": SEPARATOR.join(map(str, walk))}
    return {"messages": [{"role": role, "content": content} for role, content in turns.items()]}


SOURCE = Source(
    rows,
    ("train", "test", "walks"),
    added_tokens=(SEPARATOR, EDGE_SEPARATOR),
    is_correct=is_hamiltonian_cycle,
)
