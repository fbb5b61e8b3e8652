"""Saved reward models in plain transformers, and foreign ones in ours."""

import json
import logging

import pytest
import torch
from plain import RECORDS
from tiny import ARCHITECTURES, TEMPLATE, tiny_config, tiny_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.packing import pack

PADS = ("<|pad|>", "<|end|>", None)


@pytest.fixture(autouse=True)
def heard(caplog):
    """What transformers has to say, which it does not pass on to pytest by itself."""
    root = logging.getLogger("transformers")
    root.addHandler(caplog.handler)
    yield caplog
    root.removeHandler(caplog.handler)


def initialise(kind: str, folder, seed: int = 0) -> RewardModel:
    template = ChatTemplate.load(folder)
    return find_kind(kind).initialise(folder, template, KindConfig(), torch.float32, seed)


@torch.no_grad()
def score(ours: RewardModel) -> list[float]:
    trees = ours.encode(RECORDS)
    batch = pack(trees)
    if ours.needs_reference:
        batch = pack(trees, [torch.zeros(sum(map(len, t.nodes[1:]))).numpy() for t in trees])
    return ours.rewards(ours.read(batch)).tolist()


def written(tokenizer) -> list[str]:
    """Every conversation of RECORDS as the saved template writes it."""
    conversations = [
        [{"role": m.role, "content": m.content} for m in record.prompt + response]
        for record in RECORDS
        for response in record.responses
    ]
    return [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["own", "paper"])
@pytest.mark.parametrize("pad", PADS, ids=["pad", "pad-is-eos", "no-pad"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_explicit_models_in_plain_transformers(
    architecture, pad, template, folders, tmp_path, heard
):
    ours = initialise("explicit", folders(architecture, pad, template))
    rewards = pytest.approx(score(ours), abs=1e-5)
    ours.save(tmp_path)
    assert score(ours) == rewards, "saving changed the model"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert "newly initialized" not in heard.text and "missing" not in heard.text.lower()
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    texts = written(tokenizer)
    options = {"return_tensors": "pt", "add_special_tokens": False}
    singles = [model(**tokenizer(text, **options)).logits.item() for text in texts]
    assert singles == rewards
    for side in ("right", "left"):
        tokenizer.padding_side = side
        batch = tokenizer(texts, padding=True, **options)
        assert model(**batch).logits[:, 0].tolist() == rewards, side


def test_the_classification_pipeline_gives_raw_rewards(folders, tmp_path):
    ours = initialise("explicit", folders("llama", "<|end|>", TEMPLATE))
    ours.save(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu")
    results = classify(written(classify.tokenizer), batch_size=4, padding=True)
    assert [result["score"] for result in results] == pytest.approx(score(ours), abs=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_saved_models_score_as_before(kind, architecture, folders, tmp_path):
    ours = initialise(kind, folders(architecture, "<|end|>", None))
    rewards = score(ours)
    ours.save(tmp_path)
    saved = find_kind(kind).load(tmp_path, ChatTemplate.load(tmp_path), KindConfig(), torch.float32)
    assert score(saved) == rewards
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference", "generative"])
@torch.no_grad()
def test_models_without_a_head_are_causal_language_models(kind, folders, tmp_path, heard):
    ours = initialise(kind, folders("qwen2", None, TEMPLATE))
    ours.save(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "newly initialized" not in heard.text
    assert AutoConfig.from_pretrained(tmp_path).architectures == ["Qwen2ForCausalLM"]
    assert "rewardgap" not in (tmp_path / "config.json").read_text()
    ids = torch.tensor([ours.encode(RECORDS)[0].sequence(1)])
    original = AutoModelForCausalLM.from_pretrained(folders("qwen2", None, TEMPLATE))
    assert torch.equal(model(input_ids=ids).logits, original(input_ids=ids).logits)


def test_the_configuration_of_an_explicit_model(folders, tmp_path):
    ours = initialise("explicit", folders("gemma2", None, TEMPLATE))
    ours.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Gemma2ForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert AutoConfig.from_pretrained(tmp_path).num_labels == 1
    assert "rewardgap" not in json.dumps(config)


@pytest.mark.parametrize("pad", PADS, ids=["pad", "pad-is-eos", "no-pad"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_classifier_of_another_tool(architecture, pad, tmp_path):
    config = tiny_config(architecture)
    config.num_labels = 1
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.score.weight.normal_()
    model.save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer(pad)
    tokenizer.save_pretrained(tmp_path)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in written(tokenizer)]
    expected = [model(input_ids=torch.tensor([row])).logits.item() for row in ids]
    template = ChatTemplate.load(tmp_path)
    ours = find_kind("explicit").load(tmp_path, template, KindConfig(), torch.float32)
    assert score(ours) == pytest.approx(expected, abs=1e-5)
