"""The tangent features against plain automatic differentiation of every parameter."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS
from tiny import ARCHITECTURES
from torch import Tensor

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.projection import Limits
from rewardgap.dynamics.readouts import READOUTS, Readout
from rewardgap.errors import UserError
from rewardgap.forecasting.basis import Basis, read_bases
from rewardgap.forecasting.features import Features
from rewardgap.forecasting.gradients import Gradients, gradient_passes, token_axis
from rewardgap.forecasting.passes import Amount, Pass, Reader
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.generative import Generative
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import pack

EXACT = Limits(2**40, 0)
PAIRS = RECORDS[1:]
DATA = Amount(
    pairs=sum(len(record.chosen) * len(record.rejected) for record in PAIRS),
    responses=sum(len(record.responses) for record in PAIRS),
)


def make_readout(kind: str, folder: Path) -> Readout:
    template = ChatTemplate.load(folder)
    options = KindConfig(beta=0.5)
    model = LanguageModel.load(folder, template)
    cls = find_kind(kind)
    assert issubclass(cls, TrainedRewardModel)
    return READOUTS[kind](cls(cls.adapt(model, 0), template, options))


def read(
    over: Pass, kind: str, budget: int = 4096, records: Sequence[Record] = RECORDS
) -> Features:
    """Features of all responses, in order."""
    parts = list(Reader(torch.device("cpu"), budget).packs(over, over.model.encode(records)))
    places = torch.tensor([number for numbers, _ in parts for number in numbers]).argsort()
    values, scores, probes = (
        torch.cat([getattr(found[kind], name) for _, found in parts])
        for name in ("values", "scores", "probes")
    )
    return Features(values[places], scores[places], probes[places] if len(probes) else probes)


def by_autograd(kind: str, readout: Readout, trees: list[Tree]) -> list[dict[str, Tensor]]:
    """For every response the gradient of its score, written by the reward model itself."""
    model = readout.model
    found = []
    for tree in trees:
        for leaf in tree.leaves:
            references = [np.zeros(sum(len(tree.nodes[i]) for i in tree.leaves), np.float32)]
            batch = pack([tree], references)
            leaves = model.read(batch)
            if isinstance(model, Generative):
                logits = model.vocabulary.logits(leaves.last)
                scores = logits[:, model.yes] - logits[:, model.no]
            else:
                scores = model.rewards(leaves)
            names = dict(model.model.named_parameters())
            chosen = scores[tree.leaves.index(leaf)]
            values = torch.autograd.grad(chosen, list(names.values()), allow_unused=True)
            found.append({n: v for n, v in zip(names, values, strict=True) if v is not None})
    return found


def kernel_by_autograd(kind: str, readout: Readout) -> Tensor:
    found = by_autograd(kind, readout, readout.model.encode(RECORDS))
    rows = torch.stack([torch.cat([g.flatten() for g in each.values()]) for each in found])
    return rows.double() @ rows.double().T


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [*product(ARCHITECTURES, READOUTS), *product(["qwen3", "gemma3"], ["explicit", "implicit"])],
)
def test_exact_tangent_kernel_is_autograds(
    architecture: str, kind: str, folders: Callable[..., Path]
) -> None:
    """Qwen3 and Gemma3 normalise every head of queries and keys, each in its own layout."""
    readout = make_readout(kind, folders(architecture))
    (over,) = gradient_passes({kind: readout}, EXACT, DATA)
    values = read(over, kind).values.double()
    expected = kernel_by_autograd(kind, readout)
    torch.testing.assert_close(values @ values.T, expected, rtol=2e-4, atol=1e-3)


def test_a_bias_of_the_output_layer_is_refused(folders: Callable[..., Path]) -> None:
    readout = make_readout("implicit", folders("llama"))
    readout.model.vocabulary.layer.bias = torch.nn.Parameter(torch.zeros(len(readout.head)))
    with pytest.raises(UserError, match=r"lm_head.bias .* use level last-layer"):
        list(gradient_passes({"implicit": readout}, EXACT, DATA))


def test_tokens_are_told_from_as_many_heads() -> None:
    states = torch.zeros(1, 6, 6 * 4)
    heads = states.view(1, 6, 6, 4)
    assert [token_axis(each, 6) for each in (states, heads, heads.transpose(1, 2))] == [1, 1, 2]
    few = torch.zeros(1, 2, 6, 4)  # laid out anew: the sizes tell
    assert token_axis(few, 6) == 2


@pytest.mark.parametrize("kind", READOUTS)
def test_sketched_kernel_is_autograds_within_its_error(
    kind: str, folders: Callable[..., Path]
) -> None:
    readout = make_readout(kind, folders("llama"))
    exact = kernel_by_autograd(kind, readout)
    norms = exact.diagonal().sqrt()
    for share in (0.05, 0.5):
        errors = []
        for seed in range(4):
            entries = next(iter(gradient_passes({kind: readout}, EXACT, DATA))).sketch.entries
            memory = int(share * entries * Gradients.bytes_per_value(readout, DATA))
            (over,) = gradient_passes({kind: readout}, Limits(memory, seed), DATA)
            assert 0.9 * share * entries < over.sketch.size <= share * entries
            values = read(over, kind).values.double()
            errors.append((values @ values.T - exact) / (norms[:, None] * norms))
        found = float(torch.stack(errors).square().mean().sqrt())
        assert found < 1.5 * over.sketch.error


def read_basis(readout: Readout, limits: Limits) -> tuple[Pass, Basis]:
    """The basis of the implicit kind, trained on `PAIRS`."""
    (over,) = gradient_passes({"implicit": readout}, limits, DATA)
    trees = readout.model.encode(PAIRS)
    return over, read_bases(over, Reader(torch.device("cpu"), 4096), trees)["implicit"]


def test_the_basis_fits_the_memory(folders: Callable[..., Path]) -> None:
    readout = make_readout("implicit", folders("llama"))
    sizes = []
    for memory in (2**16, 2**20):
        over, basis = read_basis(readout, Limits(memory, 0))
        held = basis.vectors.nbytes
        sizes.append(basis.vectors.shape[1])
        read = 3 * over.at_once * 2 * sizes[-1] * 4  # of values and probes, in three copies
        assert 0.9 * memory < held + read <= memory
    assert 15 < sizes[1] / sizes[0] < 17
