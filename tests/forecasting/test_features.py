"""Features against gradients written in float64, and random test vectors against variances."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS, TRAINABLE
from tiny import ARCHITECTURES
from torch import Tensor
from untrained import PAIRS, make_model, make_reader, read, reader_of

from rewardgap.dynamics.equations import residuals
from rewardgap.dynamics.last_layer import project_features, sample_responses
from rewardgap.dynamics.projection import GradientProjector
from rewardgap.forecasting import features
from rewardgap.forecasting.features import FeatureReader
from rewardgap.forecasting.kernels import products
from rewardgap.models.kinds.generative import Generative
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.packing import pack

SMALL = 2**21


def states_of(model: TrainedRewardModel) -> ResponseStates:
    batch = pack(model.encode(RECORDS))
    with torch.no_grad():
        return ResponseStates(model.language_model.hidden_states(batch), batch)


def log_prob_gradients(model: TrainedRewardModel, states: Tensor, tokens: Tensor) -> Tensor:
    """(T, V, D) gradients of ln π in the output embedding, in float64."""
    logits = model.vocabulary.logits(states).double()
    by_product = residuals(tokens, logits.softmax(-1))
    cap = getattr(model.model.config, "final_logit_softcapping", None)
    if cap is not None:
        by_product = by_product * (1 - (logits / cap) ** 2)
    return by_product[:, :, None] * states.double()[:, None]


@torch.no_grad()
def expected_kernel(kind: str, model: TrainedRewardModel) -> Tensor:
    """The kernel of all responses, from gradients that are written out."""
    states = states_of(model)
    if kind == "explicit":
        gradients = states.last.double()
    elif kind == "explicit-mean":
        gradients = torch.stack([some.double().mean(0) for some in states.split(states.states)])
    elif isinstance(model, Generative):
        last = states.last
        yes, no = (
            log_prob_gradients(model, last, torch.full((len(last),), token))
            for token in (model.yes, model.no)
        )
        gradients = (yes - no).flatten(1)
    else:
        tokens = states.split(states.pack.response_tokens)
        gradients = torch.stack(
            [
                model.beta * log_prob_gradients(model, some, of_response).sum(0).flatten()
                for some, of_response in zip(
                    states.split(states.predicting_states), tokens, strict=True
                )
            ]
        )
    return gradients @ gradients.T


@pytest.mark.parametrize("kind", TRAINABLE)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_whole_features_have_the_kernels_of_written_gradients(
    architecture: str, kind: str, folders: Callable[..., Path]
) -> None:
    reader = reader_of(kind, folders(architecture))
    values = read(reader, kind).values
    kernel = torch.from_numpy(products(values, values))
    torch.testing.assert_close(kernel, expected_kernel(kind, reader.model), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_features_are_gradients_of_scores_by_autograd(
    kind: str, folders: Callable[..., Path]
) -> None:
    """Scores before training are linear, or log-probabilities, in the last layer."""
    reader = reader_of(kind, folders("llama"))
    model, values = reader.model, read(reader, kind).values.double()
    states = states_of(model)
    layer = getattr(model.model, "score", None) or model.model.get_output_embeddings()
    if model.score_terms(states.pack).targets is None:
        scores = model.scores(states)
    else:
        tokens = states.pack.response_tokens
        log_probs = model.vocabulary.log_probs(states.predicting_states, tokens)
        scores = model.beta * states.total(log_probs)
    gradients = torch.stack(
        [torch.autograd.grad(s, layer.weight, retain_graph=True)[0].flatten() for s in scores]
    ).double()
    torch.testing.assert_close(values @ values.T, gradients @ gradients.T, rtol=2e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference"])
def test_projected_kernels_are_right_within_their_error(
    kind: str, folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(kind, folders("llama"))
    exact = expected_kernel(kind, model)
    norms = exact.diagonal().sqrt()
    for size in (509, 4093):
        monkeypatch.setattr(features, "LARGEST_PROJECTION", size)
        errors = []
        for seed in range(4):
            reader = make_reader(seed=seed, **{kind: model})
            values = read(reader, kind).values.double()
            errors.append((values @ values.T - exact) / (norms[:, None] * norms))
        error = float(torch.stack(errors).square().mean().sqrt())
        assert reader.projections[kind].size == size
        assert error < 1.5 * reader.projections[kind].error


def test_test_vectors_measure_the_variance_of_the_logits(folders: Callable[..., Path]) -> None:
    model = make_model("implicit", folders("llama"))
    shape = model.vocabulary.layer.weight.shape
    change = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    states = states_of(model)
    lengths = states.pack.response_lengths.tolist()
    with torch.no_grad():
        probabilities = model.vocabulary.logits(states.predicting_states).softmax(-1)
        logits = states.predicting_states @ change.T
        mean = (probabilities * logits).sum(1)
        variances = (probabilities * (logits - mean[:, None]) ** 2).sum(1)
    counts = states.pack.response_lengths
    variances[counts.cumsum(0) - counts] = 0  # first positions
    exact = 0.5 * float(variances.sum())  # β Σ Var δ, over all responses
    unsigned = GradientProjector(*(torch.ones(size) for size in shape))
    estimates = []
    for seed in range(200):
        values, vectors = torch.zeros(2, len(lengths), shape.numel())
        responses = sample_responses(model.score_terms(states.pack), lengths, None, seed)
        with torch.no_grad():
            project_features(model, responses, states, unsigned, values, dict(enumerate(vectors)))
        estimates.append(float(((vectors @ change.flatten()) ** 2).sum()))
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - exact) < 4 * error
    assert error < 0.1 * exact


def test_scores_before_training_are_those_of_the_models(folders: Callable[..., Path]) -> None:
    for kind in TRAINABLE:
        reader = reader_of(kind, folders("gemma2"), SMALL)
        scores, model = read(reader, kind).scores, reader.model
        batch = pack(model.encode(RECORDS))
        if model.needs_reference:
            assert not scores.any()
            continue
        with torch.no_grad():
            rewards = model.rewards(model.read(batch))
        if isinstance(model, Generative):
            with torch.no_grad():
                no = model.vocabulary.logits(states_of(model).last).softmax(-1)[:, model.no]
            rewards = rewards.log() - no.log()
        torch.testing.assert_close(scores, rewards, rtol=1e-4, atol=1e-4)


def test_features_do_not_depend_on_how_many_are_read_at_once(
    folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("implicit", folders("llama"))

    reader, reader_of_few = (
        FeatureReader.of({"implicit": model}, model.encode(PAIRS), SMALL, 0, token_budget)
        for token_budget in (5000, 200)
    )
    many, few = vars(read(reader, "implicit")), vars(read(reader_of_few, "implicit"))
    monkeypatch.setattr(features, "AT_ONCE", 1)
    single = vars(read(reader, "implicit"))
    for name, value in many.items():
        torch.testing.assert_close(value, few[name], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(value, single[name], rtol=1e-4, atol=1e-4)


def test_kinds_that_write_records_alike_share_a_pass(
    folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [kind for kind in TRAINABLE if kind != "generative"]
    models = {kind: make_model(kind, folders("llama")) for kind in kinds}
    alone = {kind: read(make_reader(**{kind: model}), kind) for kind, model in models.items()}
    passes = []
    original = type(models["explicit"]).read
    monkeypatch.setattr(
        type(models["explicit"]), "read", lambda *given: passes.append(1) or original(*given)
    )
    reader = make_reader(**models)
    (_, together), *rest = reader.batches(reader.model.encode(RECORDS))
    assert len(passes) == 1 and not rest
    assert list(together) == kinds
    for kind in kinds:
        assert together[kind].values.shape == alone[kind].values.shape
