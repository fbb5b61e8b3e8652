"""Model folders whose tokenizer is sentencepiece's own file, as those of Llama 2 and Mistral."""

import io
import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from tiny import TEMPLATE, TEXT, randomise
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification
from transformers.utils import import_utils

from rewardgap.errors import UserError
from rewardgap.scoring.scorer import load

ASK, ANSWERS = "What is two plus two?", ["It is four.", "No: five, 🦊!"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny reward model with a tokenizer.model of 320 pieces, and no tokenizer.json."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXT, *ANSWERS] * 9),
        model_writer=written,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, vocab_size=320, num_attention_heads=4, num_labels=1)
    model = LlamaForSequenceClassification(config)
    randomise(model).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(written.getvalue())
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    template = TEMPLATE.replace("'<|' + m['role'] + '|>' + m['content'] + '<|end|>'", "%s")
    template = template.replace("<|assistant|>", "A: ")
    written_turn = "m['role'][0].upper() + ': ' + m['content'] + eos_token"
    (tmp_path / "chat_template.jinja").write_text(template.replace("%s", written_turn))
    return tmp_path


def test_rewards_of_a_tokenizer_model(folder):
    """Tokens beside sentencepiece's own, rewards beside plain transformers."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    scorer = load(str(folder), kind="explicit", device="cpu")
    for text in (ASK, *ANSWERS):
        assert scorer.model.template.tokenize([text]) == [tuple(pieces.encode(text))]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    for answer in ANSWERS:
        text = f"<s>U: {ASK}</s>A: {answer}</s>"
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected.append(model(input_ids=tokens).logits[0, 0].item())
    assert scorer.score(ASK, ANSWERS) == pytest.approx(expected, rel=1e-4)
    assert not (folder / "tokenizer.json").exists()


@pytest.mark.parametrize("missing", ["is_protobuf_available", "is_sentencepiece_available"])
def test_what_a_tokenizer_model_needs(folder, missing, monkeypatch):
    monkeypatch.setattr(import_utils, missing, lambda: False)
    with pytest.raises(UserError, match=r"tokenizer\.model, .*pip install 'rewardgap\[sentencep"):
        load(str(folder), kind="explicit", device="cpu")
