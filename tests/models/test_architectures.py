"""Every architecture that transformers has, as a tiny random model: rewards and two steps."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import PACKED, PLAIN, REFUSED, VARIANTS, WITHOUT_LINEAR_HEAD, make_config
from plain import Plain, make_record
from tiny import randomise, tiny_tokenizer
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import pack
from rewardgap.models.reading import TreeReading
from rewardgap.models.shape import ModelShape

# A long record beside short ones, and siblings of other lengths.
RECORDS = (
    make_record("what is two plus two?", ["yes, the quick brown fox jumps over"], ["no"]),
    make_record("hi", ["sure"], ["five is what I would say, certainly, absolutely not really"]),
)

COUNTED = r"(llama|qwen2|qwen3|gemma2|mistral|phi3)\b"
UNCOUNTED = r"(mamba|mamba2|gpt2|mixtral|qwen3_moe|lfm2|opt)\b"
"""Models of which the work and the activations are known, and some of which they are not."""


@pytest.fixture(scope="module")
def save(tmp_path_factory) -> Callable[[str], Path]:
    def make(variant: str) -> Path:
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(make_config(variant))
        randomise(model, std=0.2).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    return make


def losses_of_steps(model: nn.Module, loss: Callable[[], torch.Tensor]) -> list[float]:
    """The losses before, between and after two steps of gradient descent."""
    losses = []
    while True:
        value = loss()
        losses.append(value.item())
        if len(losses) == 3:
            return losses
        model.zero_grad()
        value.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= 0.01 * parameter.grad


def compare(kind: str, ours: TrainedRewardModel) -> None:
    """Rewards, and losses of two steps in training mode, are those of plain transformers."""
    plain = Plain(kind, ours, attention=None)
    plain.model.config.use_cache = False
    batch = pack(ours.encode_for_training(RECORDS))
    ours.eval()
    with torch.no_grad():
        rewards = ours(batch).rewards
    expected = torch.tensor([reward for record in RECORDS for reward in plain.rewards(record)])
    torch.testing.assert_close(rewards, expected, rtol=1e-4, atol=1e-4)
    ours.train()
    torch.testing.assert_close(
        losses_of_steps(ours, lambda: ours(batch).losses.mean()),
        losses_of_steps(
            plain.model,
            lambda: torch.stack([x for record in RECORDS for x in plain.losses(record)]).mean(),
        ),
        rtol=1e-4,
        atol=1e-4,
    )


def compare_precisions(ours: TrainedRewardModel) -> None:
    """Matrices that are kept in the precision of products change no bit of a reward."""

    def rewards() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return ours(batch).rewards

    batch = pack(ours.eval().encode_for_training(RECORDS))
    whole = rewards()
    ours.language_model.keep_matrices_in(torch.bfloat16, trained=True)
    assert torch.equal(rewards(), whole)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rewards_and_steps_equal_plain_transformers(variant, save):
    folder = save(variant)
    template = ChatTemplate.load(folder)
    implicit = find_kind("implicit-no-reference")
    ours = implicit.initialise(folder, template, KindConfig(beta=0.1), torch.float32)
    assert isinstance(ours, TrainedRewardModel)
    assert isinstance(ours.language_model.reading, TreeReading) == (variant in PACKED)
    shape = ModelShape.of(ours, ours.encode_for_training(RECORDS)[0])
    if re.match(COUNTED, variant):
        assert shape.layers == ours.model.config.num_hidden_layers
    if re.match(UNCOUNTED, variant):
        assert shape.layers == 0
    compare("implicit-no-reference", ours)
    compare_precisions(ours)
    explicit = find_kind("explicit")
    has_head = type(ours.model.config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if has_head and variant not in WITHOUT_LINEAR_HEAD:
        compare("explicit", explicit.initialise(folder, template, KindConfig(), torch.float32))
    else:
        with pytest.raises(UserError, match=r"no sequence classification|no linear head"):
            explicit.initialise(folder, template, KindConfig(), torch.float32)


@pytest.mark.parametrize("variant", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(variant, save):
    folder = save(variant)
    implicit = find_kind("implicit-no-reference")
    with pytest.raises(UserError, match=REFUSED[variant][2]) as raised:
        implicit.initialise(folder, ChatTemplate.load(folder), KindConfig(), torch.float32)
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)


def test_the_documentation_lists_what_was_measured():
    text = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text(encoding="utf-8")
    _, packed, plain, refused = re.split(r"\n## (?:Packed|Plain|Refused).*\n", text)
    for section, table in ((packed, PACKED), (plain, PLAIN)):
        assert re.findall(r"`([^`]+)`", " ".join(section.split())) == list(table)
    assert re.findall(r"^\| `([^`]+)` \| (.+) \|$", refused, re.MULTILINE) == [
        (name, reason) for name, (*_, reason) in REFUSED.items()
    ]
    counts = f"{len(PACKED)} packed, {len(PLAIN)} plain, {len(REFUSED)} refused"
    assert counts in " ".join(text.split())
