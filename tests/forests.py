"""Trees of every shape, as they are given and as Hypothesis draws them."""

from hypothesis import strategies as st

from rewardgap.data.trees import Tree

PAIR = Tree("pair", ((5, 6, 7), (8, 9), (10,)), (-1, 0, 0), 1, 1, (2, 1))
DEEP = Tree("deep", ((11,), (12, 13), (14,), (15, 16)), (-1, 0, 1, 1), 1, 1, (1, 2))
FURTHER = Tree("more", ((1,), (2,), (3,), (4, 5), (6,)), (-1, 0, 0, -1, 3), 1, 1, (1, 1))


@st.composite
def forests(draw: st.DrawFn) -> Tree:
    """Any nodes and parents with which every leaf continues something."""
    parents = [-1]
    for node in range(1, draw(st.integers(2, 8))):
        parents.append(draw(st.integers(-1, node - 1)))
    roots = [i for i, parent in enumerate(parents) if parent < 0 and i not in parents]
    parents += roots
    nodes = tuple(
        tuple(draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))) for _ in parents
    )
    leaves = len(nodes) - len({parent for parent in parents if parent >= 0})
    responses = draw(st.integers(1, leaves))
    chosen = draw(st.integers(0, responses))
    return Tree("forest", nodes, tuple(parents), chosen, responses - chosen, (1,) * responses)
