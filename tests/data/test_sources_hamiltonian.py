"""The hamiltonian source: its graphs, its text, and the closed-form check of an answer."""

import re
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardgap.data.load import load, read_rows
from rewardgap.data.sources import SOURCES
from rewardgap.data.sources.hamiltonian import is_hamiltonian_cycle
from rewardgap.errors import UserError


def text(messages):
    (message,) = messages
    return message.content


def read_graph(prompt):
    """Number of vertices and adjacency matrix, read without the source's code."""
    first, second = prompt.split("\n")
    vertices = [int(number) for number in re.findall(r"\[sep\](\d+)", first)]
    assert first == "Vertices: " + "".join(f"[sep]{vertex}" for vertex in vertices)
    assert vertices == list(range(len(vertices)))
    edges = re.findall(r"\[sep\](\d+)\[edge_sep\](\d+)", second)
    assert second == "Edges: " + "".join(f"[sep]{one}[edge_sep]{two}" for one, two in edges)
    matrix = np.zeros((len(vertices), len(vertices)), dtype=int)
    for one, two in edges:
        assert int(one) < int(two)
        matrix[int(one), int(two)] += 1
    assert matrix.max() == 1
    return len(vertices), matrix + matrix.T


def is_cycle(matrix, order):
    return all(matrix[order[step], order[step - 1]] for step in range(len(order)))


@pytest.fixture(scope="module")
def parts():
    return {part: load(f"hamiltonian:{part}") for part in ("train", "test")}


def test_chosen_is_a_cycle_and_rejected_a_permutation_that_is_none(parts):
    assert {part: len(records) for part, records in parts.items()} == {"train": 1000, "test": 200}
    for record in parts["train"] + parts["test"]:
        count, matrix = read_graph(text(record.prompt))
        chosen, rejected = (
            [int(vertex) for vertex in text(side[0]).split("[sep]")]
            for side in (record.chosen, record.rejected)
        )
        assert count == 10
        assert sorted(chosen) == sorted(rejected) == list(range(10))
        assert is_cycle(matrix, chosen)
        assert not is_cycle(matrix, rejected)
        assert is_hamiltonian_cycle(text(record.prompt), text(record.chosen[0]))
        assert not is_hamiltonian_cycle(text(record.prompt), text(record.rejected[0]))


def test_no_graph_occurs_twice(parts):
    graphs = [read_graph(text(each.prompt))[1] for part in parts.values() for each in part]
    assert len({graph.tobytes() for graph in graphs}) == 1200


def test_other_edges_are_there_with_the_probability(parts):
    for probability, records in ((0.2, parts["train"]), (0.5, None)):
        records = records or load(f"hamiltonian:train?edge_probability={probability}")
        others = [read_graph(text(each.prompt))[1].sum() // 2 - 10 for each in records]
        # 35 pairs of vertices are off the cycle; binomial with 35,000 draws.
        deviation = (probability * (1 - probability) / 35_000) ** 0.5
        assert abs(np.mean(others) / 35 - probability) < 4 * deviation


def test_edges_are_shuffled(parts):
    """The first edge listed is on the cycle as often as any other."""
    on_cycle, share = [], []
    for record in parts["train"]:
        first = re.search(r"Edges: \[sep\](\d+)\[edge_sep\](\d+)", text(record.prompt)).groups()
        order = text(record.chosen[0]).split("[sep]")
        on_cycle.append(set(first) in [{order[i - 1], order[i]} for i in range(10)])
        share.append(10 / (read_graph(text(record.prompt))[1].sum() // 2))
    assert abs(np.mean(on_cycle) - np.mean(share)) < 4 * (0.25 / 1000) ** 0.5


def test_options_and_seeds(parts):
    assert load("hamiltonian:train?train=5") == parts["train"][:5]
    assert load("hamiltonian:test?test=5&train=1") == parts["test"][:5]
    other = load("hamiltonian:test?seed=1&test=200")
    assert {each.id for each in other}.isdisjoint(each.id for each in parts["test"])
    (small,) = load("hamiltonian:train?vertices=6&train=1")
    assert read_graph(text(small.prompt))[0] == 6


def test_walks_follow_edges_and_are_never_on_a_test_graph():
    options = "vertices=5&test=20&train=20&walks=400&seed=3"
    tested = {
        read_graph(text(each.prompt))[1].tobytes() for each in load(f"hamiltonian:test?{options}")
    }
    walks = [row["messages"] for _, row in read_rows(f"hamiltonian:walks?{options}")]
    assert len(walks) == 400
    lengths = set()
    for question, answer in walks:
        assert (question["role"], answer["role"]) == ("user", "assistant")
        count, matrix = read_graph(question["content"])
        assert count == 5 and matrix.tobytes() not in tested
        walk = [int(vertex) for vertex in answer["content"].split("[sep]")]
        assert all(matrix[one, other] for one, other in pairwise(walk))
        lengths.add(len(walk))
    assert lengths == set(range(5, 16))


def test_a_walk_takes_every_edge_of_a_vertex_alike():
    """On the cycle alone both ways are open at every step."""
    walks = read_rows("hamiltonian:walks?vertices=5&edge_probability=0&test=1&walks=300")
    back = [
        walk[place] == walk[place + 2]
        for walk in (row["messages"][1]["content"].split("[sep]") for _, row in walks)
        for place in range(len(walk) - 2)
    ]
    assert abs(np.mean(back) - 0.5) < 4 * 0.5 / len(back) ** 0.5


def test_walks_are_no_pairs_to_train_on():
    with pytest.raises(UserError, match=r"hamiltonian:walks, row 1: .*chosen"):
        load("hamiltonian:walks?vertices=5&test=5&walks=5")


def test_added_tokens():
    tokens = SOURCES["hamiltonian"].added_tokens
    assert tokens == ("[sep]", "[edge_sep]")
    assert SOURCES["persona"].added_tokens == ()


WRONG = {
    "vertices=3": "`vertices` must be at least 4",
    "edge_probability=1": "`edge_probability` must be in",
    "edge_probability=-0.1": "`edge_probability` must be in",
    "edge_probability=much": "`edge_probability` must be a number",
    # Three cycles, and six complete graphs without one edge.
    "vertices=4&edge_probability=0.5": "few more than 9 different graphs",
}


@pytest.mark.parametrize(("options", "words"), WRONG.items())
def test_wrong_options(options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        load(f"hamiltonian:train?{options}")


@st.composite
def graphs(draw):
    vertices = draw(st.integers(3, 6))
    edges = draw(st.sets(st.sampled_from(list(combinations(range(vertices), 2)))))
    return vertices, sorted(edges)


@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_the_check_agrees_with_brute_force(graph):
    vertices, edges = graph
    prompt = "Vertices: " + "".join(f"[sep]{vertex}" for vertex in range(vertices))
    prompt += "\nEdges: " + "".join(f"[sep]{one}[edge_sep]{two}" for one, two in edges)
    cycles = {
        order
        for order in permutations(range(vertices))
        if all(tuple(sorted((order[i - 1], order[i]))) in edges for i in range(vertices))
    }
    accepted = {
        order
        for order in permutations(range(vertices))
        if is_hamiltonian_cycle(prompt, "[sep]".join(map(str, order)))
    }
    assert accepted == cycles


SQUARE = "Vertices: [sep]0[sep]1[sep]2[sep]3\nEdges: [sep]0[edge_sep]1[sep]1[edge_sep]2"
SQUARE += "[sep]2[edge_sep]3[sep]0[edge_sep]3"


@pytest.mark.parametrize("response", ["0[sep]1[sep]2[sep]3", " 2 [sep] 1[sep]0 [sep]3\n"])
def test_answers_that_are_right(response):
    assert is_hamiltonian_cycle(SQUARE, response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "[sep]0[sep]1[sep]2[sep]3",
        "0[sep]1[sep]2",
        "0[sep]1[sep]2[sep]3[sep]0",
        "0[sep]1[sep]1[sep]3",
        "0[sep]1[sep]2[sep]٣",
        "0[sep]1[sep]2[sep]03",
        "0 1 2 3",
        "0[sep]2[sep]1[sep]3",
    ],
)
def test_answers_that_are_wrong(response):
    assert not is_hamiltonian_cycle(SQUARE, response)


def test_a_prompt_without_a_graph():
    with pytest.raises(UserError, match="no prompt of the `hamiltonian` source"):
        is_hamiltonian_cycle("What is 1 + 1?", "2")
