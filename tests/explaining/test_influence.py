"""Contributions against gradients of plain transformers in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS, TRAINABLE, Plain, make_record, plain_copy
from torch import nn

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.dynamics import last_layer
from rewardgap.explaining import influence
from rewardgap.explaining.first_step import measure_first_step
from rewardgap.explaining.influence import (
    ExplainedRecord,
    TrainingPairs,
    measure_contributions,
    measure_influence,
)
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel

EXPLAINED = RECORDS[3]  # two chosen and two rejected responses
TRAINING = (RECORDS[1], RECORDS[2], RECORDS[4])  # one pair, two pairs, one pair
LAMBDA = 0.3


def initial(kind: str, folder: Path) -> RewardModel:
    options = KindConfig(beta=0.7, likelihood_weight=LAMBDA)
    model = find_kind(kind).initialise(
        folder, ChatTemplate.load(folder), options, torch.float32, seed=3
    )
    return model.eval()


def explained(model: RewardModel, record=EXPLAINED) -> ExplainedRecord:
    return ExplainedRecord.read(model, model.encode([record])[0])


def training(model: RewardModel) -> TrainingPairs:
    return TrainingPairs(TRAINING, model.encode_for_training(TRAINING), 4)


def autograd_contributions(kind: str, model: RewardModel, folder: Path) -> torch.Tensor:
    """−⟨∇r, ∇loss⟩ in float64, only the last layer trainable, one response and pair at a time."""
    plain = Plain(kind, model, plain_copy(model.model).double() if model.needs_reference else None)
    plain.model.double()
    if not hasattr(plain.model, "score"):  # untie, so that the input embedding stays fixed
        head = plain.model.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
    weight = plain.model.score.weight if hasattr(plain.model, "score") else head.weight

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, weight)[0].flatten()

    rewards = [gradient(plain.reward(plain.write(EXPLAINED, y))) for y in EXPLAINED.responses]
    losses = [gradient(loss) for record in TRAINING for loss in plain.losses(record)]
    return -torch.stack(rewards) @ torch.stack(losses).T


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("kind", TRAINABLE)
def test_contributions_are_inner_products_of_gradients(kind, architecture, folders):
    folder = folders(architecture)
    model = initial(kind, folder)
    found = measure_contributions(explained(model), training(model).trees, 1000).double()
    expected = autograd_contributions(kind, model, folder)
    assert found.shape == expected.shape == (4, 4)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_contributions_depend_on_no_budget(kind, folders, monkeypatch):
    model = initial(kind, folders("llama"))
    trees = training(model).trees
    whole = measure_contributions(explained(model), trees, 1000)
    monkeypatch.setattr(last_layer, "CHUNK_VALUES", 1)  # one row a block
    single = measure_contributions(explained(model), trees, max(tree.size for tree in trees))
    torch.testing.assert_close(single, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("kind", TRAINABLE)
def test_token_contributions_sum_to_those_of_the_pairs(kind, folders):
    model = initial(kind, folders("llama"))
    seen = explained(model)
    data = training(model)
    whole = measure_contributions(seen, data.trees, 1000)
    found = measure_influence(seen, data, 1000, top=4, batch_size=2)
    assert len(found.pairs) == 4
    assert found.pairs[1] == "hi (chosen, rejected 1)"
    step = measure_first_step(model, [seen.tree], data.trees, 2)
    for response, row, effects in zip(
        found.responses, whole.tolist(), step.effects.tolist(), strict=True
    ):
        assert response.contributions == pytest.approx(row)
        assert response.effects == pytest.approx(effects)
        described = response.raising + response.lowering
        assert len(described) == 4
        assert sum(pair.share for pair in described) == pytest.approx(1)
        assert [pair.effect for pair in response.raising] == pytest.approx(
            sorted((value for value in effects if value > 0), reverse=True)
        )
        assert [pair.effect for pair in response.lowering] == pytest.approx(
            sorted(value for value in effects if value < 0)
        )
        by_name = dict(zip(found.pairs, row, strict=True))
        for pair in described:
            assert pair.contribution == pytest.approx(by_name[pair.id], rel=1e-4)
        for part in (part for pair in described for part in pair.parts):
            assert len(part.tokens) == len(part.contributions)
            assert len(response.tokens) == len(part.received)
            assert sum(part.received) == pytest.approx(part.contribution, rel=1e-6, abs=1e-6)


def test_implicit_heat_maps_are_the_summands_of_equation_5(folders):
    model = initial("implicit", folders("llama"))
    found = measure_influence(explained(model), training(model), 1000, top=4, batch_size=2)
    for pair in found.responses[0].raising + found.responses[0].lowering:
        for part, sign in zip(pair.parts, (1, -1), strict=True):
            factors = sign * 0.5 * model.beta**2  # g = ½, where the model is its own reference
            products = np.array(part.heat.values) * factors
            columns = [part.contributions[k] for k in part.heat.columns]
            assert products.shape == (len(part.heat.rows), len(part.heat.columns))
            if products.shape == (len(part.received), len(part.contributions)):
                assert products.sum(0) == pytest.approx(columns, rel=1e-4, abs=1e-5)


def test_an_explicit_model_is_moved_at_the_last_token_alone(folders):
    model = initial("explicit", folders("llama"))
    found = measure_influence(explained(model), training(model), 1000, top=1, batch_size=2)
    (part, *_) = found.responses[0].raising[0].parts
    assert [k for k, value in enumerate(part.contributions) if value] == [len(part.tokens) - 1]
    assert part.tokens[-1] == "<|end|>"


def test_a_long_response_gets_a_map_of_its_strongest_tokens(folders):
    model = initial("implicit", folders("llama"))
    long = make_record("hello", ["yes, the quick brown fox jumps over " * 4], ["no"])
    found = measure_influence(explained(model, long), training(model), 1000, top=1, batch_size=2)
    heat = found.responses[0].raising[0].parts[0].heat
    assert len(heat.rows) == influence.HEAT_TOKENS < len(found.responses[0].tokens)
    assert list(heat.rows) == sorted(set(heat.rows))
    received = np.abs(found.responses[0].raising[0].parts[0].received)
    left_out = np.delete(received, heat.rows)
    assert left_out.max() <= received[list(heat.rows)].min()
