"""Adapters of every kind, against plain PEFT and plain transformers."""

import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import peft
import pytest
import torch
from plain import Plain, make_record
from safetensors.torch import load_file, save_file
from tiny import tiny_model
from toy import configure, read_rows, train_toy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardgap import errors
from rewardgap.cli import main
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.errors import UserError
from rewardgap.experiments.estimates import estimate
from rewardgap.io.run_folder import Run
from rewardgap.models.devices import autocast
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import pack
from rewardgap.models.reference import Reference
from rewardgap.scoring.scorer import load
from rewardgap.training import loop, memory
from rewardgap.training.memory import memory_of_weights

training = import_module("rewardgap.training.train")

RECORD = make_record("what is two plus two?", ["yes, four"], ["no, five is what I would say", "no"])
TOLERANCE = 1e-5
LORA = {"adapter": "lora", "lora_rank": 4}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("REWARDGAP_CACHE", str(tmp_path / "cache"))


def scores(folder: Path) -> list[float]:
    responses = [response[0].content for response in RECORD.responses]
    return load(folder, device="cpu").score(RECORD.prompt[0].content, responses)


def built(config: TrainConfig) -> RewardModel:
    template = ChatTemplate.load(Path(config.model))
    kind = training.find_kind(config.kind)
    encoder = kind.encoding(template, training.KindConfig.of(config))
    return training.build(config, RunData.open(config, encoder, PreparedData())).eval()


@torch.no_grad()
def rewards(model: RewardModel, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    batch = pack(model.encode([RECORD]))
    with autocast(torch.device("cpu"), torch.float32, dtype):
        return model.rewards(model.read(batch, model.positions(batch)))


@pytest.mark.parametrize(
    ("kind", "adapter", "targets"),
    [
        ("explicit", "lora", ["q_proj", "down_proj"]),
        ("implicit", "dora", None),
        ("generative", "lora", None),
    ],
)
def test_a_run_scores_as_plain_peft_does_and_merged(kind, adapter, targets, model, tmp_path):
    settings = {"adapter": adapter, "lora_targets": targets, "max_steps": 5}
    run = train_toy(tmp_path, model, kind=kind, learning_rate=1e-2, **settings)
    losses = [row["loss"] for row in read_rows(run.log)]
    assert losses[-1] < 0.8 * losses[0]
    saved = load_file(run.reward_model / "adapter_model.safetensors")
    linear = {name.split(".")[-3] for name in saved if "lora_A" in name}
    assert linear == set(targets) if targets else len(linear) == 7
    assert ("base_model.model.score.weight" in saved) == (kind == "explicit")
    assert not (run.reward_model / "model.safetensors").exists()

    classes = (AutoModelForCausalLM, AutoModelForSequenceClassification)
    labels = {"num_labels": 1} if kind == "explicit" else {}
    initial = classes[kind == "explicit"].from_pretrained(model, **labels)
    assert main(["merge", str(run.folder), str(tmp_path / "merged")]) == 0
    merged = load(tmp_path / "merged", device="cpu").model
    plain = Plain(kind, merged, AutoModelForCausalLM.from_pretrained(model))
    expected = plain.rewards(RECORD)
    plain.model = peft.PeftModel.from_pretrained(initial, run.reward_model).eval()
    assert plain.rewards(RECORD) == pytest.approx(expected, abs=TOLERANCE)
    for folder in (run.folder, tmp_path / "merged", locate_model(str(run.folder))):
        assert scores(folder) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["explicit", "implicit-no-reference", "generative"])
def test_rewards_are_at_first_what_they_were(kind, folders, tmp_path):
    base = folders("qwen2")
    expected = rewards(built(configure(tmp_path, base, kind=kind)))
    for adapter in ("lora", "dora"):
        adapted = built(configure(tmp_path, base, kind=kind, adapter=adapter))
        torch.testing.assert_close(rewards(adapted), expected, atol=1e-5, rtol=1e-5)
        trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
        assert all("lora_" in name or name == "model.score.weight" for name in trained)
        assert ("model.score.weight" in trained) == (kind == "explicit")
    again = built(configure(tmp_path, base, kind=kind, adapter="dora"))
    pairs = zip(adapted.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_frozen_weights_in_the_precision_of_products_change_no_bit(model, tmp_path, monkeypatch):
    config = configure(tmp_path, model, kind="implicit-no-reference", dtype="bfloat16", **LORA)
    halved = built(config)
    assert halved.model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.bfloat16
    monkeypatch.setattr(LanguageModel, "keep_matrices_in", lambda self, dtype: None)
    whole = built(config)
    assert memory_of_weights(halved) < 0.8 * memory_of_weights(whole)
    assert torch.equal(rewards(halved, torch.bfloat16), rewards(whole, torch.bfloat16))


def test_the_reference_is_the_base_with_the_adapter_switched_off(model, tmp_path, monkeypatch):
    opened: list[Path] = []
    usual = LanguageModel.load.__func__

    def counted(cls, folder, *arguments, **keywords):
        opened.append(folder)
        return usual(cls, folder, *arguments, **keywords)

    monkeypatch.setattr(LanguageModel, "load", classmethod(counted))
    run = train_toy(tmp_path, model, kind="implicit", max_steps=5, learning_rate=3e-2, **LORA)
    assert len(opened) == 2  # to be trained, and to be scored: never as a reference beside it
    scorer = load(run.folder, device="cpu")
    trees = scorer.model.encode([RECORD])
    (switched_off,) = scorer.reference.compute(trees)
    alone = Reference(
        model, scorer.model.template, torch.device("cpu"), *_settings(tmp_path, model)
    )
    (expected,) = alone.compute(trees)
    assert (switched_off == expected).all()
    assert scores(run.folder)[0] != 0
    # Both find each other's log-probabilities in the cache.
    entries = {path.name for path in (tmp_path / "cache").glob("reference/*.rows")}
    train_toy(tmp_path, model, kind="implicit", max_steps=1, out=str(tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "cache").glob("reference/*.rows")} == entries


def _settings(folder: Path, model: Path) -> tuple[TrainConfig, torch.dtype]:
    return configure(folder, model), torch.float32


class Killed(BaseException):
    """What ends a run as a signal would."""


def test_a_run_that_is_resumed_has_the_same_bits(model, tmp_path, monkeypatch):
    settings = {"adapter": "dora", "checkpoint_steps": 2, "max_steps": 4}
    whole = train_toy(tmp_path, model, out=str(tmp_path / "whole"), **settings)
    save = loop.save_checkpoint

    def save_and_die(*arguments: object) -> None:
        save(*arguments)
        raise Killed

    config = configure(tmp_path, model, **settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "save_checkpoint", save_and_die)
        training.train(config)
    run = Run(Path(config.out))
    assert run.steps_saved == 2 and not run.reward_model.exists()
    kept = load_file(next(run.checkpoints.glob("step-*")) / "weights.safetensors")
    assert all("lora_" in name or name == "model.score.weight" for name in kept)
    training.train(replace(config, resume=True))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        first, second = ((each.reward_model / name).read_bytes() for each in (run, whole))
        assert first == second
    assert run.scores("test").read_text() == whole.scores("test").read_text()


def test_an_adapter_of_another_base_is_refused(tmp_path, capsys):
    base = tiny_model(tmp_path / "base")
    run = train_toy(tmp_path, base, max_steps=1, eval={}, **LORA)
    expected = scores(run.folder)
    moved = shutil.copytree(base, tmp_path / "moved")
    tiny_model(base, seed=3)
    words = [str(run.folder), str(tmp_path / "merged")]
    for call in (lambda: load(run.folder), lambda: locate_model(str(run.folder))):
        with pytest.raises(UserError, match=r"base is not the model that the adapter in .* was"):
            call()
    assert main(["merge", *words]) == 2
    assert "was trained on" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(UserError, match="was trained on"):
        load(run.folder, reference=str(base))
    assert load(run.folder, reference=str(moved), device="cpu").score("hi", ["yes"])
    shutil.rmtree(base)
    assert main(["merge", *words]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "the base of the adapter in" in message and "--reference" in message
    assert not (tmp_path / "merged").exists()
    assert main(["merge", *words, "--base", str(moved)]) == 0
    assert scores(tmp_path / "merged") == pytest.approx(expected, abs=TOLERANCE)
    for name, out, message in (
        (run.folder, "merged", "exists already"),
        (tmp_path / "merged", "new", "no adapter of rewardgap"),
    ):
        assert main(["merge", str(name), str(tmp_path / out), "--base", str(moved)]) == 2
        assert message in capsys.readouterr().err


def test_an_adapter_that_is_damaged(model, tmp_path):
    run = train_toy(tmp_path, model, max_steps=1, eval={}, **LORA)
    weights = load_file(run.reward_model / "adapter_model.safetensors")
    weights.pop("base_model.model.score.weight")
    save_file(weights, run.reward_model / "adapter_model.safetensors")
    with pytest.raises(UserError, match="is not what was written, by its checksum"):
        load(run.folder)
    (run.reward_model / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"does not fit .*: base_model\.model\.score\.weight is in"):
        load(run.folder)
    settings = run.reward_model / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"r": 8}))
    with pytest.raises(UserError, match="does not fit"):
        load(run.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_rank": 4}, "lora_rank is a setting of adapters: name one"),
        ({"quantise": "4bit"}, "quantise is a setting of adapters: name one"),
        ({"adapter": "lora", "lora_rank": 0}, "lora_rank must be at least 1; it is 0"),
        ({"adapter": "lora", "frozen_backbone": True}, "leave one out"),
        ({"adapter": "lora", "quantise": "4bit", "shard": True}, "and quantise is 4bit: leave one"),
        ({"optimiser": "adam-8bit", "shard": True}, "and optimiser is adam-8bit: leave one of"),
        ({"adapter": "lora", "lora_targets": ["gone"]}, r"lora_targets \['gone'\]: Target modules"),
        ({"adapter": "lora", "lora_targets": ["lm_head"]}, "lm_head is no layer of the blocks"),
        ({"adapter": "lora"}, r"pip install 'rewardgap\[lora\]'"),
        ({"adapter": "lora", "quantise": "4bit"}, r"pip install 'rewardgap\[bitsandbytes\]'"),
        ({"optimiser": "adam-8bit"}, r"pip install 'rewardgap\[bitsandbytes\]'"),
    ],
)
def test_settings_that_cannot_be(changes, message, model, tmp_path, monkeypatch):
    def is_there(name: str) -> object:
        return name if name == "peft" and "[lora" not in message else None

    monkeypatch.setattr(errors, "find_spec", is_there)
    with pytest.raises(UserError, match=message) as caught:
        training.train(configure(tmp_path, model, kind="implicit", **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "log.jsonl").exists()


def test_the_estimate_of_memory_counts_what_is_trained(model, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "HOLES", 1.0)  # between activations, which the rest is not
    template = ChatTemplate.load(model)
    estimates = [
        estimate(configure(tmp_path, model, **changes), model, template, PreparedData())
        for changes in ({}, LORA, LORA | {"quantise": "4bit"})
    ]
    assert len({each.parameters for each in estimates}) == 1
    whole, lora, small = (each.memory for each in estimates)
    count = estimates[0].parameters
    trained = sum(
        w.numel() for w in built(configure(tmp_path, model, **LORA)).parameters() if w.requires_grad
    )
    added = trained - 32  # the head is no new weight
    saved = 16 * (count - trained) - 4 * added  # a processor's gradients count twice
    assert saved < whole - lora < 1.3 * saved  # frozen norms keep less for the backward pass
    in_blocks = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64)
    assert lora - small == pytest.approx(in_blocks * (4 - 0.516), abs=1)
