"""Folders that are damaged or hostile: one line, and nothing of them is run or unpickled."""

import json
import shutil
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import TEMPLATE

from rewardgap.cli import main
from rewardgap.configs.kind import KindConfig
from rewardgap.errors import UserError
from rewardgap.models.kinds import find_kind
from rewardgap.models.saved import SavedRewardModel
from rewardgap.scoring.scorer import load


@pytest.fixture
def folder(folders, tmp_path) -> Path:
    """A copy of the tiny Llama to damage."""
    return shutil.copytree(folders("llama", "<|pad|>", TEMPLATE), tmp_path / "model")


def change(path: Path, **fields: Any) -> None:
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | fields))


def score(folder: Path) -> list[float]:
    return load(str(folder), kind="implicit-no-reference", device="cpu").score("hi", ["yes", "no"])


def refused(folder: Path, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(str(folder), device="cpu", **{"kind": "implicit-no-reference"} | arguments).score(
            "hi", ["yes", "no"]
        )
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "eager"},
        {"_attn_implementation": "sdpa"},
        {"_attn_implementation": "flash_attention_2"},
        {"attn_implementation": "eager"},
        {"_attn_implementation_internal": "eager"},
        {"output_attentions": True},
        {"output_hidden_states": True, "return_dict": False},
        {"use_cache": False},
        {"attention_dropout": 0.9},
    ],
)
def test_settings_of_how_to_compute_change_no_reward(settings, folder):
    expected = score(folder)
    change(folder / "config.json", **settings)
    assert score(folder) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"num_key_value_heads": [2, 2]},
        {"vocab_size": [320]},
        {"model_type": ["llama"]},
        {"model_type": "no such model"},
        {"dtype": "inf"},
        {"rope_parameters": [1]},
        {"rope_parameters": {"rope_type": ["default"]}},
        {"hidden_act": "no such function"},
        {"num_hidden_layers": "two"},
        {"hidden_size": 0},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 2 * 10**6},
        {"architectures": 3},
        {"architectures": [None]},
        {"num_attention_heads": 0},
        {"eos_token_id": {"a": 1}},
    ],
)
@pytest.mark.parametrize("kind", [None, "implicit-no-reference", "explicit"])
def test_a_damaged_configuration(fields, kind, folder):
    change(folder / "config.json", **fields)
    assert refused(folder, kind=kind)


def test_the_line_on_a_damaged_configuration_says_what_is_wrong(folder):
    change(folder / "config.json", num_key_value_heads=[2, 2])
    assert "'num_key_value_heads'" in refused(folder) and "list" in refused(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 9999])
def test_a_configuration_that_is_no_object(text, folder):
    (folder / "config.json").write_text(text)
    assert refused(folder)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tokenizer_config.json", {"additional_special_tokens": [1]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("tokenizer_config.json", {"tokenizer_class": 3}),
        ("tokenizer.json", {"added_tokens": [{}]}),
        ("tokenizer.json", {"model": None}),
    ],
)
def test_a_damaged_tokenizer(name, fields, folder):
    change(folder / name, **fields)
    assert "tokenizer" in refused(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": ["explicit"]},
        {"kind": None},
        {"beta": [1.0]},
        {"beta": "much"},
        {"beta": -1.0},
        {"beta": 10**400},
        {"reference": {"model": 5}},
        {"max_length": [512]},
        {"max_length": 0},
        {"max_length": True},
        {"reference": []},
        {"reference": {"model": ["a"], "fingerprint": None}},
        {"verification_prompt": 3},
        {"likelihood_weight": None},
        {"label": 1},
    ],
)
def test_a_damaged_card(fields, folder):
    saved = SavedRewardModel("implicit-no-reference", KindConfig())
    model = find_kind(saved.kind).load(folder, _template(folder), KindConfig(), torch.float32)
    saved.write(model, folder.parent / "saved")
    card = folder.parent / "saved" / "rewardgap.json"
    change(card, **fields)
    assert f"{card} is damaged" in refused(folder.parent / "saved", kind=None)


def test_a_card_of_an_older_version_has_no_label(folder):
    saved = SavedRewardModel("implicit-no-reference", KindConfig())
    model = find_kind(saved.kind).load(folder, _template(folder), KindConfig(), torch.float32)
    saved.write(model, folder.parent / "saved")
    card = folder.parent / "saved" / "rewardgap.json"
    fields = json.loads(card.read_text())
    del fields["label"]
    card.write_text(json.dumps(fields))
    assert SavedRewardModel.read(card) == saved


def _template(folder: Path) -> Any:
    from rewardgap.data.chat_template import ChatTemplate

    return ChatTemplate.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_never_run_nor_asked_about(name, folder, tmp_path, monkeypatch, capfd):
    code = "import pathlib; pathlib.Path(__file__).with_name('RAN').touch()\n"
    (folder / "hostile.py").write_text(code)
    classes = {
        "AutoConfig": "hostile.Config",
        "AutoModelForCausalLM": "hostile.Model",
        "AutoTokenizer": ["hostile.Tokenizer", "hostile.Tokenizer"],
    }
    fields: dict[str, Any] = {"auto_map": classes}
    fields |= {"model_type": "new"} if name == "config.json" else {"tokenizer_class": "Tokenizer"}
    change(folder / name, **fields)
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "hi", "chosen": "yes", "rejected": "no"}\n')
    words = ["score", str(folder), "--kind", "implicit-no-reference", "--data", str(data)]
    answers = StringIO("y\n" * 10)
    monkeypatch.setattr(sys, "stdin", answers)
    status = main([*words, "--out", str(tmp_path / "scores.jsonl")])
    printed = "".join(capfd.readouterr())
    assert not list(tmp_path.rglob("RAN")) and "hostile" not in str(sys.modules.keys())
    assert answers.tell() == 0 and "Traceback" not in printed and "[y/N]" not in printed
    if name == "config.json":
        assert status == 2 and "Python code of its own" in printed


def test_an_index_that_names_a_pickle(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    torch.save(weights, folder / "x.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "x.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names the weights x.bin: only .safetensors files are read" in refused(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "[" * 9999, '{"weight_map": []}', '{"weight_map": {"a": 3}}']
)
def test_a_damaged_index(text, folder):
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    assert refused(folder)


def test_a_configuration_that_names_a_pickle(folder):
    change(folder / "config.json", transformers_weights="adapter_model.bin")
    assert "only .safetensors files are read" in refused(folder)


def test_a_distributed_checkpoint_is_a_pickle(folder):
    (folder / ".metadata").write_bytes(b"not to be opened")
    assert "has a distributed checkpoint" in refused(folder)
