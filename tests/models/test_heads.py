"""Heads of models trained elsewhere: their names, their shapes, and the token that they read."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from plain import RECORDS, make_record
from safetensors.torch import load_file, save_file
from tiny import SIZES, TEMPLATE, randomise, tiny_config, tiny_model, tiny_tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    OPTConfig,
    PreTrainedModel,
    RobertaConfig,
)

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.models.kinds import find_kind
from rewardgap.models.packing import pack
from rewardgap.models.reading import LogitsReading
from rewardgap.models.saved import SavedRewardModel
from rewardgap.scoring.scorer import load

OPEN_ENDED = TEMPLATE.replace("<|end|>", "\n")
"""A template that does not end a response."""


def save_classifier(folder: Path, config, pad: str | None = "<|pad|>", template=TEMPLATE):
    """A classification model with random weights as another tool saves it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(pad, template)
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    model = randomise(AutoModelForSequenceClassification.from_config(config)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@torch.no_grad()
def plain_rewards(model: PreTrainedModel, folder: Path) -> list[float]:
    """What plain transformers gives for every response: one sequence, nothing padded."""
    tokenizer = ChatTemplate.load(folder, as_written=True).tokenizer
    rewards = []
    for record in RECORDS:
        for response in record.responses:
            turns = [{"role": m.role, "content": m.content} for m in record.prompt + response]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            rewards.append(float(model(input_ids=torch.tensor([ids])).logits[0, 0]))
    return rewards


def our_rewards(folder: Path, **arguments: object) -> list[float]:
    scorer = load(str(folder), device="cpu", **arguments)
    texts = [(record, [response[0].content for response in record.responses]) for record in RECORDS]
    return [reward for record, ys in texts for reward in scorer.score(record.prompt, ys)]


@pytest.mark.parametrize("template", [TEMPLATE, OPEN_ENDED])
@pytest.mark.parametrize("pad", ["<|pad|>", "<|end|>", None])
def test_the_token_that_transformers_reads_is_read(pad, template, tmp_path, caplog):
    model = save_classifier(tmp_path, tiny_config("llama"), pad, template)
    assert our_rewards(tmp_path) == pytest.approx(plain_rewards(model, tmp_path), abs=1e-5)
    ends_in_pad = pad == "<|end|>" and template == TEMPLATE
    assert ("also ends a response" in caplog.text) == ends_in_pad


def test_prefixes_end_in_the_reward_and_nothing_but_pad_tokens_is_refused(tmp_path):
    save_classifier(tmp_path, tiny_config("llama"), "<|end|>")
    model = load(str(tmp_path), device="cpu").model
    (tree,) = model.encode([RECORDS[1]])
    with torch.no_grad():
        rewards = model(pack([tree])).rewards
        prefixes = model.prefix_rewards(tree, None)
    assert [float(values[-1]) for values in prefixes] == pytest.approx(rewards.tolist(), abs=1e-6)
    with pytest.raises(UserError, match="record hi has a response of pad tokens alone"):
        model.check_readable(model.encode([make_record("hi", ["<|end|>"], ["no"])]))


def test_a_mean_of_states_reads_the_pad_token_that_ends_a_response(tmp_path):
    save_classifier(tmp_path, tiny_config("llama"), "<|end|>")
    model = load(str(tmp_path), kind="explicit-mean", device="cpu").model
    (tree,) = model.encode([RECORDS[1]])
    with torch.no_grad():
        rewards = model(pack([tree])).rewards
        prefixes = model.prefix_rewards(tree, None)
    assert [len(values) for values in prefixes] == [len(tree.nodes[leaf]) for leaf in tree.leaves]
    assert [float(values[-1]) for values in prefixes] == pytest.approx(rewards.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["v_head.summary", "v_head", "reward_head", "value_head", "classifier", "score"]
)
@pytest.mark.parametrize("bias", [False, True])
def test_heads_of_other_names(name, bias, folders, tmp_path):
    folder = shutil.copytree(folders("llama", "<|pad|>", TEMPLATE), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    tensors[f"{name}.weight"] = weight = torch.randn(1, 32, generator=generator)
    if bias:
        tensors[f"{name}.bias"] = torch.tensor([3.0])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    model = save_classifier(tmp_path / "plain", tiny_config("llama"))
    model.load_state_dict(tensors | {"score.weight": weight}, strict=False)
    expected = [reward + 3.0 * bias for reward in plain_rewards(model, folder)]
    assert our_rewards(folder, kind="explicit") == pytest.approx(expected, abs=1e-4)


def test_a_head_in_a_file_of_its_own_and_a_config_without_labels(tmp_path):
    model = save_classifier(tmp_path, tiny_config("llama"))
    expected = plain_rewards(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({"v_head.summary.weight": tensors.pop("score.weight")}, tmp_path / "v.safetensors")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("num_labels", "id2label", "label2id"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert our_rewards(tmp_path) == pytest.approx(expected, abs=1e-5)


def test_sharded_weights(tmp_path):
    model = save_classifier(tmp_path / "whole", tiny_config("llama"))
    shutil.copytree(tmp_path / "whole", tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    whole = our_rewards(tmp_path / "whole")
    assert our_rewards(tmp_path / "sharded") == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        DebertaV2Config(**SIZES, vocab_size=330, pooler_hidden_size=32),
        RobertaConfig(**SIZES, vocab_size=330),
    ],
)
def test_heads_that_read_other_tokens_are_computed_by_transformers(config, tmp_path, caplog):
    model = save_classifier(tmp_path, config)
    scorer = load(str(tmp_path), device="cpu")
    assert isinstance(scorer.model.language_model.reading, LogitsReading)
    assert our_rewards(tmp_path) == pytest.approx(plain_rewards(model, tmp_path), abs=1e-4)
    assert "its head reads other tokens than the last" in caplog.text


def test_projected_states_have_a_head_as_wide_as_they_are(tmp_path):
    sizes = SIZES | {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    model = save_classifier(tmp_path, OPTConfig(**sizes, vocab_size=320))
    assert our_rewards(tmp_path) == pytest.approx(plain_rewards(model, tmp_path), abs=1e-5)


def test_a_head_of_another_width_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders("llama", "<|pad|>", TEMPLATE), tmp_path / "model")
    save_file({"v_head.weight": torch.zeros(1, 16)}, folder / "v.safetensors")
    with pytest.raises(UserError, match="the head v_head reads 16 numbers"):
        load(str(folder), kind="explicit", device="cpu")


@pytest.mark.parametrize("kind", ["explicit", "explicit-mean"])
def test_training_starts_from_the_head_of_a_trained_model(kind, tmp_path):
    cls, options = find_kind(kind), KindConfig()
    base = tiny_model(tmp_path / "base")
    first = cls.initialise(base, ChatTemplate.load(base), options, torch.float32, seed=3)
    SavedRewardModel(kind, options).write(first, tmp_path / "run" / "reward_model")
    again = cls.initialise(
        tmp_path / "run" / "reward_model", ChatTemplate.load(base), options, torch.float32, seed=4
    )
    batch = pack(first.encode(RECORDS))
    with torch.no_grad():
        assert torch.equal(first(batch).rewards, again(batch).rewards)
