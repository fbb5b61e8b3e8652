"""The check at load: what it lets read packs, and what it says of the rest."""

import logging

import pytest
import torch
from architectures import make_config
from plain import RECORDS
from tiny import ARCHITECTURES, TEMPLATE
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.models import self_check
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import pack
from rewardgap.models.reading import PlainReading, TreeReading
from rewardgap.models.self_check import check_model


def random_model(variant: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(make_config(variant)).eval()


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("lfm2", "it has layers of the kind conv"),
        ("llama4_text", "it has layers of the kind chunked_attention"),
        ("deepseek_v32", "it has layers of the kind|its attention is sparse"),
        ("gpt_oss", "attention sinks are not supported"),
        ("falcon", "its attention cannot be chosen"),
        ("nemotron", "in one row, records change each other's hidden states"),
        ("olmoe with a window", "its attention has a mask that its layers do not tell"),
    ],
)
def test_the_reason_for_the_plain_path_is_said_once(variant, reason, caplog):
    model = random_model(variant)
    with caplog.at_level(logging.WARNING, logger="rewardgap"):
        check = check_model(model, "the model")
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("rewardgap")]
    assert isinstance(check.reading, PlainReading)
    assert message.startswith(f"the model: {type(model).__name__} is computed sequence by sequence")
    assert any(part in message for part in reason.split("|"))


@pytest.mark.parametrize("variant", ["phi3 with longrope", "llama with dynamic scaling"])
def test_scaling_by_length_has_a_limit(variant, caplog):
    check = check_model(random_model(variant), "the model")
    assert isinstance(check.reading, TreeReading) and check.reading.limit == 24
    assert "sequence by sequence" not in caplog.text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_readings_give_the_same_states(architecture, folders):
    folder = folders(architecture, "<|pad|>", TEMPLATE)
    template = ChatTemplate.load(folder)
    model = LanguageModel.load(folder, template)
    assert model.reading == TreeReading()
    packed = pack(template.encode(RECORDS))
    with torch.no_grad():
        states = model.hidden_states(packed)
        plain = PlainReading().states(model.model, packed, None)
        alone = model.hidden_states(TreeReading(limit=1).prepare(packed))
    torch.testing.assert_close(plain, states, rtol=1e-4, atol=1e-4)
    unshared = TreeReading(limit=1).prepare(packed)
    for name in ("response_positions", "predicting_positions"):
        torch.testing.assert_close(
            alone[getattr(unshared, name)], states[getattr(packed, name)], rtol=1e-4, atol=1e-4
        )


def test_models_on_no_device_are_not_checked(folders):
    model = LanguageModel.on_meta(folders("llama", "<|pad|>", TEMPLATE))
    assert model.check is None and model.reading == TreeReading()


def test_rounding_of_halves_is_measured(folders, monkeypatch):
    """A model in half precision is packed where it rounds as two attentions of its own do."""
    monkeypatch.setattr(self_check, "TOLERANCE_OF_HALVES", 1e-3)
    path = folders("llama", "<|pad|>", TEMPLATE)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    assert isinstance(check_model(model, "the model").reading, TreeReading)

    def swapped(reading, model, packed, positions):
        states = read(reading, model, packed, positions)
        return states.index_copy(0, positions, states[positions].flip(0))

    read = TreeReading.states
    monkeypatch.setattr(TreeReading, "states", swapped)
    assert isinstance(check_model(model, "the model").reading, PlainReading)
