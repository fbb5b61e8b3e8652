"""`check model`: every fault of broken checkpoints is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import NEWLINE, Make, classifier, report_on, written_in
from reports import alarms, named
from safetensors.torch import load_file, save_file
from tiny import TEMPLATE, tiny_model, tiny_tokenizer
from tokenizers.processors import TemplateProcessing
from toy import pair_rows, write_rows
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
)

from rewardgap.checks import model as module
from rewardgap.checks import templates
from rewardgap.checks.checkpoints import Checkpoint
from rewardgap.checks.findings import Check, CheckFinding
from rewardgap.checks.model import MODEL_CHECKS, register_model_check
from rewardgap.cli import main
from rewardgap.errors import UserError

PLAIN_END = TEMPLATE.replace("'<|end|>' }}", "'\n\n' }}")
THINKS = TEMPLATE.replace("'<|assistant|>' }}{% endif", "'<|assistant|>Well: ' }}{% endif")
TWO_BOS = "{{ bos_token }}" + TEMPLATE
REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TEMPLATE
)
RAISES = "{{ raise_exception('no') }}" + TEMPLATE


def test_an_adapter_with_its_head(tmp_path):
    folder = adapter(tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.score.modules_to_save.default.weight"] = torch.zeros(1, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    report = report_on(folder)
    assert report.status == 0 and "merge it" in named(report, "adapter").remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 9999])
def test_an_adapter_with_a_damaged_configuration(tmp_path, text):
    folder = adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(text)
    assert "cannot be read" in named(report_on(folder), "loading").what


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def two_pads(folder: Path) -> Path:
    edit(classifier(folder) / "config.json", pad_token_id=2)
    return folder


def bos_again(folder: Path) -> Path:
    """A tokenizer that adds the BOS that its template writes."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    tokenizer.save_pretrained(classifier(folder))
    return folder


def two_labels(folder: Path) -> Path:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model(folder), num_labels=2)
    model.save_pretrained(folder)
    return folder


def head_of_another_name(folder: Path) -> Path:
    classifier(folder)
    return edit_weights(folder, lambda w: w.update({"v_head.weight": w.pop("score.weight")}))


def flipped(folder: Path) -> Path:
    return edit_weights(classifier(folder), lambda w: w["score.weight"].neg_())


def zero_head(folder: Path) -> Path:
    return edit_weights(classifier(folder), lambda w: w["score.weight"].zero_())


def overflown(folder: Path) -> Path:
    return edit_weights(classifier(folder), lambda w: w["model.norm.weight"].fill_(float("inf")))


def coarse(folder: Path) -> Path:
    """Rewards of which only the last digits differ; the head of this architecture has a bias."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = BertConfig(**sizes, vocab_size=320, pad_token_id=4, num_labels=1)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["classifier.weight"].mul_(10)
        weights["classifier.bias"].fill_(10.0)

    return edit_weights(folder, change)


def large_vocabulary(folder: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|extra|>"], special_tokens=True)
    tokenizer.chat_template = TEMPLATE + "{{ '<|extra|>' }}"
    tokenizer.save_pretrained(classifier(folder))
    return folder


def absolute_positions(folder: Path) -> Path:
    """GPT-2 counts positions from the first pad token."""
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=320, pad_token_id=4)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.transformer.wpe.weight.normal_()
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def adapter(folder: Path) -> Path:
    folder.mkdir()
    config = {"task_type": "SEQ_CLS", "base_model_name_or_path": "a-base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    names = ("lora_A", "lora_B")
    weights = {f"base_model.model.model.layers.0.{n}.weight": torch.zeros(2, 2) for n in names}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def without(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for path in classifier(folder).glob(name):
            path.unlink()
        return folder

    return make


def damaged(name: str, size: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = classifier(folder) / name
        path.write_bytes(path.read_bytes()[:size])
        return folder

    return make


BROKEN: dict[str, tuple[Make, str, str]] = {
    "pad is end": (written_in(TEMPLATE, "<|end|>"), "pad ends a response", "24 of 24 rewards"),
    "pad is end, token": (
        written_in(TEMPLATE, "<|end|>"),
        "reward token",
        "vLLM-style pooling at '<|end|>'",
    ),
    "no pad": (written_in(TEMPLATE, None), "no pad token", "config.json names no pad_token_id"),
    "two pads": (two_pads, "two pad tokens", "config.json takes '<|user|>' for padding"),
    "two pads in batches": (two_pads, "batches", "rewards change in batches of 2, 3 and 16 padded"),
    "no end of turn": (written_in(PLAIN_END), "no end of turn", "does not end a response with"),
    "two bos": (written_in(TWO_BOS), "double BOS", "24 of 24 texts (100 %) begin with it twice"),
    "bos again": (bos_again, "double BOS", "template and tokenizer both write '<|begin|>'"),
    "border": (written_in(THINKS), "prompt no prefix", "in 12 of 12 records (100 %) the tokens"),
    "no template": (written_in(None), "no chat template", "the tokenizer has no chat template"),
    "coarse": (coarse, "bfloat16", "rewards in bfloat16 rank pairs differently from float32"),
    "language model as explicit": (tiny_model, "missing head", "has no weights score.weight"),
    "head of another name": (head_of_another_name, "missing head", "it has v_head.weight, which"),
    "two labels": (two_labels, "several labels", "of 12 pairs are ranked right: "),
    "adapter": (adapter, "adapter without head", "the adapter of a-base holds no head"),
    "flipped sign": (flipped, "sign", "noise has the larger reward: of 12 chosen"),
    "zero head": (zero_head, "constant rewards", "all responses get the same reward, 0"),
    "overflow": (overflown, "not finite", "24 of 24 rewards (100 %) are infinite or not a number"),
    "large vocabulary": (large_vocabulary, "unknown tokens", "but the model has 320 embeddings"),
    "positions": (absolute_positions, "batches", "padded on the left"),
    "no weights": (without("*.safetensors"), "loading", "has no safetensors weights"),
    "no tokenizer": (without("tokenizer*"), "loading", "has no tokenizer"),
    "no config": (without("config.json"), "loading", "has no config.json"),
    "broken config": (damaged("config.json", 40), "loading", "it cannot be loaded"),
    "broken weights": (damaged("model.safetensors", 5000), "loading", "it cannot be loaded"),
    "broken tokenizer": (damaged("tokenizer.json", 900), "loading", "it cannot be loaded"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_named_with_its_cost(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "SHIFT", 0.0)  # a second BOS moves a tiny model's rewards little
    make, name, words = BROKEN[fault]
    kind = "implicit-no-reference" if fault == "positions" else "explicit"
    report = report_on(make(tmp_path / "model"), kind=kind)
    found = [finding for finding in report.findings if finding.check == name]
    assert any(words in finding.what + finding.cost for finding in found), str(report)
    assert report.status in (3, 4)
    assert "Traceback" not in str(report)


def test_a_template_that_refuses_records(tmp_path):
    folder = classifier(tmp_path / "model")
    rows = pair_rows(8)
    rows[3]["prompt"] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a"}]
    data = write_rows(tmp_path / "data.jsonl", rows)
    tiny_tokenizer(template=REFUSES).save_pretrained(folder)
    (finding,) = [f for f in report_on(folder, data=data).findings if f.check == "template refuses"]
    assert finding.what == "the chat template refuses 1 of 8 records (12 %): no system"
    assert finding.severity == "warning" and finding.examples == ("pair-3",)
    tiny_tokenizer(template=RAISES).save_pretrained(folder)
    (finding,) = report_on(folder).findings
    assert finding.severity == "error" and "refuses 12 of 12 records (100 %): no" in finding.what


@pytest.fixture
def policy(tmp_path) -> Path:
    return tiny_model(tmp_path / "policy", seed=1)


def test_a_reference_that_is_missing_or_cannot_be_read(policy, tmp_path):
    report = report_on(policy, kind="implicit")
    assert "name it with --reference" in named(report, "scoring").what
    tiny_model(tmp_path / "reference")
    (tmp_path / "reference" / "config.json").unlink()
    report = report_on(policy, kind="implicit", reference=str(tmp_path / "reference"))
    assert "has no config.json" in named(report, "reference").what


def test_a_reference_that_is_the_model(policy, tmp_path):
    same = shutil.copytree(policy, tmp_path / "same")
    report = report_on(policy, kind="implicit", reference=str(same))
    assert named(report, "reference equals model").severity == "error"


def test_a_reference_of_another_tokenizer(policy, tmp_path):
    folder = tiny_model(tmp_path / "reference")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<|user|>", "<|human|>"))
    report = report_on(policy, kind="implicit", reference=str(folder))
    assert "24 of 24 texts (100 %) have other tokens" in named(report, "reference tokenizer").cost


def test_a_reference_of_another_template(policy, tmp_path):
    folder = tiny_model(tmp_path / "reference", "llama", "<|pad|>", NEWLINE)
    report = report_on(policy, kind="implicit", reference=str(folder))
    assert "12 of 12 texts (100 %)" in named(report, "reference template").cost


def test_costs_are_measured_on_the_rows_of_the_user(tmp_path):
    """By hand: with its end of turn as pad token, the reward is that of the text before it."""
    folder = classifier(tmp_path / "model", "llama", "<|end|>")
    data = write_rows(tmp_path / "data.jsonl", pair_rows(10))
    tokenizer = tiny_tokenizer("<|end|>")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    right = {"all": 0, "before": 0}
    for row in pair_rows(5):
        rewards = {"all": [], "before": []}
        for answer in (row["chosen"], row["rejected"]):
            text = f"<|begin|><|user|>{row['prompt']}<|end|><|assistant|>{answer}"
            for key, end in (("all", "<|end|>"), ("before", "")):
                ids = tokenizer(text + end, add_special_tokens=False, return_tensors="pt").input_ids
                model.config.pad_token_id = None
                with torch.no_grad():
                    rewards[key].append(float(model(input_ids=ids).logits))
        for key, (chosen, rejected) in rewards.items():
            right[key] += chosen > rejected
    finding = named(report_on(folder, data=data, records=5), "reward token")
    expected = f"of 5 pairs are ranked right: {right['before']} by transformers"
    assert finding.cost == f"{expected}, {right['all']} by vLLM-style pooling, " + (
        f"{right['all']} by OpenRLHF"
    )


def test_exchanged_labels(run, tmp_path):
    """A model that was trained on pairs, asked about the same pairs the other way round."""
    trained, _ = run("explicit")
    rows = [r | {"chosen": r["rejected"], "rejected": r["chosen"]} for r in pair_rows(24)]
    data = write_rows(tmp_path / "data.jsonl", rows)
    signs = [f.what for f in report_on(trained, data=data).findings if f.check == "sign"]
    assert any(
        "the rejected response is above the chosen one in 24 of 24" in what for what in signs
    )


def test_a_model_that_is_not_there_or_of_no_kind(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        report_on(tmp_path / "none")
    with pytest.raises(UserError, match="unknown kind 'explicitt'"):
        report_on(tiny_model(tmp_path / "model"), kind="explicitt")


def test_a_check_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MODEL_CHECKS", [])

    def find_size(checkpoint: Checkpoint) -> list[CheckFinding]:
        return [CheckFinding("warning", "size", f"{checkpoint.model.num_parameters():,} weights")]

    register_model_check(Check("size", find_size))
    assert named(report_on(tiny_model(tmp_path / "model")), "size").what.endswith("weights")
    assert MODEL_CHECKS[-1].name != "size"


def test_the_command_prints_80_columns_or_json_and_returns_the_status(tmp_path, capsys):
    folder = str(classifier(tmp_path / "model", "llama", "<|end|>"))
    assert main(["check", "model", folder]) == 4
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert main(["check", "model", folder, "--json"]) == 4
    fields = json.loads(capsys.readouterr().out)
    assert {finding["check"] for finding in fields["findings"]} >= {"pad ends a response"}
    assert main(["check", "model", str(classifier(tmp_path / "sound"))]) == 0
    assert main(["check", "model", str(tmp_path / "none")]) == 2


def test_an_output_that_is_chosen(tmp_path):
    folder = two_labels(tmp_path / "model")
    finding = named(report_on(folder, label="LABEL_1"), "several labels")
    assert finding.severity == "note" and "by output 1" in finding.cost
    assert "scoring" not in alarms(report_on(folder, label="1"))


def test_another_template_is_the_one_that_is_checked(tmp_path):
    folder = classifier(tmp_path / "model", "llama", "<|pad|>", None)
    assert "no chat template" in alarms(report_on(folder))
    (tmp_path / "template.jinja").write_text(TEMPLATE)
    report = report_on(folder, template=str(tmp_path / "template.jinja"))
    assert not {"no chat template", "scoring"} & alarms(report)
