"""Effects on the first step of Adam against plain transformers and autograd in float64."""

import pytest
import torch
from plain import RECORDS, TRAINABLE, Plain, plain_copy

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.dynamics import adam
from rewardgap.explaining.first_step import measure_first_step
from rewardgap.models.kinds import find_kind

EXPLAINED = RECORDS[3]  # two chosen and two rejected responses
TRAINING = (RECORDS[1], RECORDS[2], RECORDS[4])  # one pair, two pairs, one pair
BATCH = 3
EPSILON = 1e-3  # in place of Adam's: what float32 rounds is then no step
TINY = 1e-30  # so that autograd can take the root of 0


def differentiate(kind, model):
    """Return the changes of four rewards, and their derivatives by the weights of four pairs."""
    plain = Plain(kind, model, plain_copy(model.model).double() if model.needs_reference else None)
    plain.model.double()
    trained = {name for name, weight in model.model.named_parameters() if weight.requires_grad}
    parameters = [w for name, w in plain.model.named_parameters() if name in trained]

    def gradient(value):
        parts = torch.autograd.grad(value, parameters, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    rewards = [gradient(plain.reward(plain.write(EXPLAINED, y))) for y in EXPLAINED.responses]
    losses = torch.stack([gradient(loss) for record in TRAINING for loss in plain.losses(record)])
    squares = losses.square().mean(0)

    def changes(pair_weights):
        mean = pair_weights @ losses / len(losses)
        square = mean**2 + (squares - mean**2) / BATCH
        return -torch.stack(rewards) @ (mean / (square + TINY).sqrt().add(EPSILON))

    ones = torch.ones(len(losses), dtype=torch.float64)
    return changes(ones), torch.autograd.functional.jacobian(changes, ones)


@pytest.mark.parametrize(
    ("kind", "frozen"), [*((kind, False) for kind in TRAINABLE), ("explicit", True)]
)
def test_effects_are_derivatives_of_the_first_step(kind, frozen, folders, monkeypatch):
    monkeypatch.setattr(adam, "EPSILON", EPSILON)
    folder = folders("llama")
    options = KindConfig(beta=0.7, likelihood_weight=0.3)
    template = ChatTemplate.load(folder)
    model = find_kind(kind).initialise(folder, template, options, torch.float32, seed=3).eval()
    if frozen:
        model.language_model.freeze()
    trees = model.encode_for_training(TRAINING)
    found = measure_first_step(model, model.encode([EXPLAINED]), trees, BATCH)
    changes, effects = differentiate(kind, model)
    for ours, plain in ((found.changes, changes), (found.effects, effects)):
        assert ours.shape == plain.shape
        scale = float(plain.abs().max())
        torch.testing.assert_close(ours.double(), plain, rtol=1e-3, atol=1e-3 * scale)
