"""Every response's own drift against forward-mode differentiation in plain transformers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS, plain_copy
from test_gradients import make_readout
from torch import Tensor
from torch.func import functional_call, jvp
from transformers import PreTrainedModel

from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Points, drift_rate
from rewardgap.dynamics.projection import Limits
from rewardgap.dynamics.readouts import Readout
from rewardgap.forecasting import drift
from rewardgap.forecasting.drift import weigh_by_own_drift
from rewardgap.forecasting.gradients import gradient_passes
from rewardgap.forecasting.passes import Amount, Reader
from rewardgap.forecasting.problem import Cache, Data, Problem, pose
from rewardgap.models.language_model import CHUNK_VALUES

TRAINING = RECORDS[1:3]
DATA = Data(
    lambda model: model.encode(TRAINING),
    {"some": RECORDS, "reversed": RECORDS[::-1]},
    max_length=None,
)
READER = Reader(torch.device("cpu"), token_budget=128)
ROWS = np.array([0.5, 1.5, 0.7])
NEAR = 1e-3
Weights = dict[str, Tensor]


def make_problem(readout: Readout, kind: str, folder: Path) -> Problem:
    passes = gradient_passes({kind: readout}, Limits(2**40, 0), Amount(pairs=3, responses=5))
    return pose(passes, READER, Cache(folder, "test"), DATA)[kind]


def some_point(problem: Problem, distance: float = NEAR) -> Points:
    weights = np.zeros((1, len(problem.training.kernel)))
    weights[0, : len(problem.training.initial)] = distance * ROWS
    return Points(weights, np.einsum("pb,bc,pc->p", weights, problem.training.kernel, weights))


def responses(tree: Tree) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(tree.nodes[0], tree.nodes[leaf]) for leaf in tree.leaves]


def logits(
    model: PreTrainedModel, prompt: tuple[int, ...], response: tuple[int, ...], weights: Weights
) -> Tensor:
    """(T, V) where the response's tokens are predicted."""
    tokens = torch.tensor([[*prompt, *response]])
    return functional_call(model, weights, (tokens,)).logits[0, len(prompt) - 1 : -1]


def direction(model: PreTrainedModel, trees: list[Tree], rows: list[float]) -> Weights:
    """Gradient of the weighted margins, one response at a time."""
    weights = dict(model.named_parameters())
    total, following = torch.zeros(()), iter(rows)
    for tree in trees:
        sums = []
        for prompt, response in responses(tree):
            log_probs = logits(model, prompt, response, weights).log_softmax(-1)
            sums.append(log_probs.gather(1, torch.tensor(response)[:, None]).sum() / 2)
        for chosen, rejected in tree.pairs:
            total = total + next(following) * (sums[chosen] - sums[rejected])
    return dict(zip(weights, torch.autograd.grad(total, list(weights.values())), strict=True))


def own_drift(
    model: PreTrainedModel, change: Weights, prompt: tuple[int, ...], response: tuple[int, ...]
) -> float:
    """β Σ_k Var δ_k over the places but the first, β = 0.5."""
    weights = {name: value.detach() for name, value in model.named_parameters()}
    before, moved = jvp(partial(logits, model, prompt, response), (weights,), (change,))
    chances = before.double().softmax(-1)
    variances = (chances * moved**2).sum(-1) - (chances * moved).sum(-1) ** 2
    return float(0.5 * variances[1:].sum())


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("places", [CHUNK_VALUES, 3 * 320])
@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference"])
def test_drift_is_that_of_logits_moved_along_training(
    kind: str,
    places: int,
    folders: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift, "CHUNK_VALUES", places)
    readout = make_readout(kind, folders("llama"))
    problem = make_problem(readout, kind, tmp_path)
    point = some_point(problem)
    plain, encode = plain_copy(readout.model.model), readout.model.encode
    change = direction(plain, encode(TRAINING), list(NEAR * ROWS))
    refined = weigh_by_own_drift(problem, point, readout, READER, DATA)
    for name, records in DATA.held_out.items():
        found = refined.held_out[name]
        rates = drift_rate(found.probes @ point.weights.T, point.norms, found.tokens, found.noise)
        expected = [
            own_drift(plain, change, prompt, response)
            for tree in encode(records)
            for prompt, response in responses(tree)
        ]
        np.testing.assert_allclose(found.lengths * rates, expected, rtol=1e-2)


def test_what_normalising_takes_tells_how_far_the_second_order_reaches() -> None:
    states = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, generator=states, dtype=torch.float64)
    change = torch.randn(5, 7, generator=states, dtype=torch.float64)
    chances = logits.softmax(-1)
    loss = ((chances * change.exp()).sum(-1)).log() - (chances * change).sum(-1)
    variance = (chances * change**2).sum(-1) - (chances * change).sum(-1) ** 2
    found = drift._at_places(logits, change)
    np.testing.assert_allclose(found, torch.stack([variance, 2 * loss]))
    np.testing.assert_allclose(*drift._at_places(logits, 1e-4 * change), rtol=1e-3)


def test_a_point_too_far_for_the_second_order_keeps_the_rate_of_the_set(
    folders: Callable[..., Path], tmp_path: Path
) -> None:
    readout = make_readout("implicit", folders("llama"))
    problem = make_problem(readout, "implicit", tmp_path)
    far = some_point(problem, distance=1)
    assert weigh_by_own_drift(problem, far, readout, READER, DATA) is problem
    near = weigh_by_own_drift(problem, some_point(problem), readout, READER, DATA)
    for name, found in near.held_out.items():
        assert not np.allclose(found.lengths, problem.held_out[name].lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_as_it_was(
    dtype: torch.dtype,
    folders: Callable[..., Path],
    tmp_path: Path,
) -> None:
    readout = make_readout("implicit", folders("llama"))
    problem = make_problem(readout, "implicit", tmp_path)
    point = some_point(problem)
    exact = weigh_by_own_drift(problem, point, readout, READER, DATA)
    readout.model.model.to(dtype)
    before = {name: value.clone() for name, value in readout.model.model.state_dict().items()}
    rough = weigh_by_own_drift(problem, point, readout, READER, DATA)
    after = readout.model.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {value.dtype for value in readout.model.model.parameters()} == {dtype}
    for name, found in rough.held_out.items():
        np.testing.assert_allclose(found.lengths, exact.held_out[name].lengths, rtol=0.1)


@pytest.mark.parametrize("dies", [True, False])
def test_the_model_is_restored_after_an_error(dies: bool, folders: Callable[..., Path]) -> None:
    model = make_readout("implicit", folders("llama")).model.model
    parameters = list(model.parameters())
    before = [value.detach().clone() for value in parameters]
    line = drift.Line(parameters, [torch.ones_like(value) for value in before], 0.1)
    try:
        with line.at(line.sides()[0]):
            assert not torch.equal(parameters[0], before[0])
            if dies:
                raise RuntimeError
    except RuntimeError:
        assert dies
    assert all(map(torch.equal, parameters, before))


@pytest.mark.parametrize("kind", ["explicit", "generative"])
def test_kinds_without_drift_are_left_alone(
    kind: str, folders: Callable[..., Path], tmp_path: Path
) -> None:
    readout = make_readout(kind, folders("llama"))
    problem = make_problem(readout, kind, tmp_path)
    weights = np.ones((1, len(problem.training.kernel)))
    found = weigh_by_own_drift(problem, Points(weights, np.ones(1)), readout, READER, DATA)
    for name, evaluation in problem.held_out.items():
        np.testing.assert_array_equal(found.held_out[name].lengths, evaluation.lengths)


def test_nothing_drifts_where_nothing_is_learned(
    folders: Callable[..., Path], tmp_path: Path
) -> None:
    readout = make_readout("implicit", folders("llama"))
    problem = make_problem(readout, "implicit", tmp_path)
    start = Points(np.zeros((1, len(problem.training.kernel))), np.zeros(1))
    assert weigh_by_own_drift(problem, start, readout, READER, DATA) is problem
