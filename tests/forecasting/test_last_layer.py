"""Last-layer features against the dynamics' kernels, and the second level against the first."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS
from test_gradients import DATA, EXACT, make_readout, read
from tiny import ARCHITECTURES
from torch import Tensor

from rewardgap.dynamics.equations import TokenGradients, soft_capped, token_gradients
from rewardgap.dynamics.kernels import generative_log_odds, gradient_kernel, implicit_rewards
from rewardgap.dynamics.projection import GradientProjector, Limits
from rewardgap.dynamics.readouts import READOUTS, Readout
from rewardgap.forecasting.features import kernel
from rewardgap.forecasting.gradients import gradient_passes
from rewardgap.forecasting.last_layer import last_layer_passes
from rewardgap.models.kinds.generative import Generative
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.packing import pack

SMALL = Limits(2**21, 0)


def products(values: Tensor) -> Tensor:
    return torch.from_numpy(kernel(values, values))


def states(readout: Readout) -> ResponseStates:
    batch = pack(readout.model.encode(RECORDS))
    return ResponseStates(readout.model.language_model.hidden_states(batch), batch)


def gradients_of(readout: Readout, states: Tensor, tokens: Tensor) -> TokenGradients:
    """Token gradients as `dynamics` writes them, in float64."""
    logits = readout.model.vocabulary.logits(states).double()
    found = token_gradients(tokens, logits.softmax(-1), states.double())
    cap = getattr(readout.model.model.config, "final_logit_softcapping", None)
    return found if cap is None else soft_capped(found, logits, cap)


@torch.no_grad()
def expected(kind: str, readout: Readout) -> Tensor:
    """The kernel of all responses, by `kernels` and `dynamics`."""
    leaves = states(readout)
    if kind == "explicit":
        return leaves.last.double() @ leaves.last.double().T
    if kind == "explicit-mean":
        means = torch.stack([states.double().mean(0) for states in leaves.split(leaves.states)])
        return means @ means.T
    if isinstance(readout.model, Generative):
        last = leaves.last
        yes, no = (
            gradients_of(readout, last, torch.full((len(last),), token))
            for token in (readout.model.yes, readout.model.no)
        )
        nothing = TokenGradients(torch.zeros_like(yes.residuals), torch.zeros_like(yes.hidden))
        sums = generative_log_odds(yes, no, nothing, nothing)
        return gradient_kernel(sums, sums)
    found = gradients_of(readout, leaves.predicting_states, leaves.pack.response_tokens)
    lengths = leaves.pack.response_lengths
    owners = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sums = implicit_rewards(found, owners, len(lengths), readout.model.beta)
    return gradient_kernel(sums, sums)


@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exact_features_have_the_kernels_of_the_dynamics(
    architecture: str, kind: str, folders: Callable[..., Path]
) -> None:
    readout = make_readout(kind, folders(architecture))
    (over,) = last_layer_passes({kind: readout}, EXACT, DATA)
    torch.testing.assert_close(
        products(read(over, kind).values), expected(kind, readout), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
def test_gradients_in_the_last_layer_alone_are_the_first_level(
    architecture: str, kind: str, folders: Callable[..., Path]
) -> None:
    readout = make_readout(kind, folders(architecture))
    (over,) = gradient_passes({kind: readout}, EXACT, DATA)
    second = read(over, kind)
    first = read(last_layer_passes({kind: readout}, EXACT, DATA)[0], kind)
    entries = readout.head.numel()  # a gradient ends with the last layer's entries
    np.testing.assert_allclose(
        *(kernel(some, some) for some in (second.values[:, -entries:], first.values)),
        rtol=1e-4,
        atol=1e-3,
    )
    np.testing.assert_allclose(
        *(kernel(some, some) for some in (second.probes[:, -entries:], first.probes)),
        rtol=1e-4,
        atol=1e-3,
    )
    np.testing.assert_allclose(second.scores, first.scores, rtol=1e-5)


def unsigned(head: Tensor) -> GradientProjector:
    """Gradients themselves."""
    return GradientProjector(*(torch.ones(size) for size in head.shape), 0)


def test_probes_measure_the_variance_of_the_logits(folders: Callable[..., Path]) -> None:
    readout = make_readout("implicit", folders("llama"))
    random = torch.Generator().manual_seed(0)
    change = torch.randn(readout.head.shape, generator=random)
    leaves = states(readout)
    with torch.no_grad():
        probabilities = readout.model.vocabulary.logits(leaves.predicting_states).softmax(-1)
        logits = leaves.predicting_states @ change.T
        mean = (probabilities * logits).sum(1)
        variances = (probabilities * (logits - mean[:, None]) ** 2).sum(1)
    exact = 0.5 * float(variances.sum())  # β Σ Var δ, over all responses
    estimates = []
    for draw in range(200):
        readout.seed = draw
        values, probes = torch.zeros(2, len(leaves.last_tokens), readout.head.numel())
        with torch.no_grad():
            readout.last_layer(leaves, unsigned(readout.head), values, dict(enumerate(probes)))
        estimates.append(float(((probes @ change.flatten()) ** 2).sum()))
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - exact) < 4 * error
    assert error < 0.1 * exact


def test_scores_before_training_are_those_of_the_models(folders: Callable[..., Path]) -> None:
    for kind in READOUTS:
        readout = make_readout(kind, folders("gemma2"))
        found = read(last_layer_passes({kind: readout}, SMALL, DATA)[0], kind)
        batch = pack(readout.model.encode(RECORDS))
        if readout.model.needs_reference:
            assert not found.scores.any()
            continue
        with torch.no_grad():
            rewards = readout.model.rewards(readout.model.read(batch))
        if isinstance(readout.model, Generative):
            leaves = states(readout)
            with torch.no_grad():
                no = readout.model.vocabulary.logits(leaves.last).softmax(-1)[:, readout.model.no]
            rewards = rewards.log() - no.log()
        torch.testing.assert_close(found.scores, rewards, rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_how_many_are_read_at_once(
    folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    readout = make_readout("implicit", folders("llama"))
    for level in (last_layer_passes, gradient_passes):
        (over,) = level({"implicit": readout}, SMALL, DATA)
        many, few = (read(over, "implicit", budget) for budget in (200, 5000))
        monkeypatch.setattr(type(over), "at_once", 1)
        one = read(over, "implicit")
        for name, value in vars(many).items():
            torch.testing.assert_close(value, vars(few)[name], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(value, vars(one)[name], rtol=1e-4, atol=1e-4)


def test_kinds_that_write_records_alike_share_a_pass(folders: Callable[..., Path]) -> None:
    readouts = {kind: make_readout(kind, folders("llama")) for kind in READOUTS}
    passes = last_layer_passes(readouts, SMALL, DATA)
    assert [sorted(over.readouts) for over in passes] == [
        ["explicit", "explicit-mean", "implicit", "implicit-no-reference"],
        ["generative"],
    ]
