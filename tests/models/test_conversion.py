"""Adapters and GGUF files as ordinary models, against peft and gguf themselves."""

import json
import shutil
from pathlib import Path

import gguf
import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import TEMPLATE
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from rewardgap import errors
from rewardgap.errors import UserError
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.scoring.scorer import load

IDS = torch.tensor([list(range(10, 30))])


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REWARDGAP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def base(folders) -> Path:
    return folders("llama", "<|pad|>", TEMPLATE)


def adapt(base: Path, folder: Path, task: str = "CAUSAL_LM", **settings: object) -> PreTrainedModel:
    """Save an adapter with random changes; the model that it makes of its base."""
    torch.manual_seed(1)
    classes = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_CLS": AutoModelForSequenceClassification}
    labels = {"num_labels": 1} if task == "SEQ_CLS" else {}
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type=task, **settings)
    model = peft.get_peft_model(classes[task].from_pretrained(base, **labels), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model.eval()


def test_an_adapter_is_merged_with_its_base(base, tmp_path):
    adapted = adapt(base, tmp_path / "adapter")
    folder = locate_model(str(tmp_path / "adapter"))
    merged = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS).logits, adapted(IDS).logits, rtol=1e-4, atol=1e-4)
        assert (merged(IDS).logits - AutoModelForCausalLM.from_pretrained(base)(IDS).logits).any()
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
    assert locate_model(str(tmp_path / "adapter")) == folder
    rewards = load(
        str(tmp_path / "adapter"), kind="implicit", reference=str(base), device="cpu"
    ).score("hi", ["yes", "no"])
    assert all(abs(reward) > 1e-4 for reward in rewards)


def test_an_adapter_beside_the_weights_of_its_base_is_not_ignored(base, tmp_path):
    adapt(base, tmp_path / "adapter")
    beside = shutil.copytree(base, tmp_path / "beside")
    for path in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(path, beside)
    alone = load_file(locate_model(str(tmp_path / "adapter")) / "model.safetensors")
    merged = load_file(locate_model(str(beside)) / "model.safetensors")
    assert alone.keys() == merged.keys()
    assert all(torch.equal(alone[name], merged[name]) for name in alone)


def test_an_adapter_brings_its_head(base, tmp_path):
    adapted = adapt(base, tmp_path / "adapter", "SEQ_CLS")
    scorer = load(str(tmp_path / "adapter"), device="cpu")
    (tree,) = scorer.model.encode([_record()])
    with torch.no_grad():
        plain = adapted(torch.tensor([tree.sequence(tree.leaves[0])])).logits[0, 0]
    assert scorer.score("hi", ["yes"]) == pytest.approx([float(plain)], abs=1e-5)


def _record():
    from plain import make_record

    return make_record("hi", ["yes"], [])


def test_a_changed_adapter_is_merged_again(base, tmp_path):
    adapt(base, tmp_path / "adapter")
    first = locate_model(str(tmp_path / "adapter"))
    settings = tmp_path / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"lora_alpha": 32}))
    second = locate_model(str(tmp_path / "adapter"))
    assert fingerprint(first) != fingerprint(second)


def test_adapters_that_cannot_be_merged(base, tmp_path, monkeypatch):
    folder = tmp_path / "adapter"
    adapt(base, folder, "SEQ_CLS")
    settings = folder / "adapter_config.json"
    fields = json.loads(settings.read_text())

    def refused() -> str:
        with pytest.raises(UserError) as caught:
            locate_model(str(folder))
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache").rglob("model.safetensors"))
        return str(caught.value)

    for text in ("{", "[]", "{}"):
        settings.write_text(text)
        assert str(settings) in refused()
    settings.write_text(json.dumps(fields | {"base_model_name_or_path": str(tmp_path / "gone")}))
    assert f"{tmp_path / 'gone'} does not exist" in refused()
    settings.write_text(json.dumps(fields | {"peft_type": "NONE"}))
    assert "cannot merge the adapter" in refused()
    settings.write_text(json.dumps(fields))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "only .safetensors files are read" in refused()
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    assert "pip install 'rewardgap[lora]'" in refused()


def test_a_classifier_adapter_without_its_head(base, tmp_path):
    from safetensors.torch import save_file

    adapt(base, tmp_path / "adapter", "SEQ_CLS")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    kept = {name: x for name, x in load_file(weights).items() if "score" not in name}
    save_file(kept, weights)
    with pytest.raises(UserError, match=r"has no score\.weight.*modules_to_save"):
        locate_model(str(tmp_path / "adapter"))


def write_gguf(model: PreTrainedModel, tokenizer, path: Path) -> None:
    """A Llama as llama.cpp writes it, with unquantised weights."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        stem, _, suffix = name.rpartition(".")
        values = tensor.detach()
        for part, heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            if part in name:  # llama.cpp pairs neighbours for its rotary embedding
                values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2)
                values = values.reshape(tensor.shape)
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("named", ["file", "folder"])
def test_a_gguf_file_is_dequantised(named, base, tmp_path):
    plain = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    folder = tmp_path / "gguf"
    folder.mkdir()
    tokenizer.save_pretrained(folder)
    write_gguf(plain, tokenizer, folder / "model.gguf")
    name = folder / "model.gguf" if named == "file" else folder
    found = AutoModelForCausalLM.from_pretrained(locate_model(str(name)))
    with torch.no_grad():
        torch.testing.assert_close(found(IDS).logits, plain(IDS).logits, rtol=1e-4, atol=1e-4)


def test_gguf_files_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(UserError, match=r"cannot load a model from .*model\.gguf"):
        locate_model(str(path))
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"rewardgap\[gguf\]"):
        locate_model(str(path))
