"""Pretraining: documents in, a language model that plain transformers loads out."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardgap.configs.training import PretrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.documents import read_documents
from rewardgap.data.records import Message
from rewardgap.errors import UserError
from rewardgap.models.language_model import open_template
from rewardgap.training.pretrain import make_template, pretrain

torch.set_num_threads(1)  # threads cost tiny models more than they give

SENTENCE = "The cat sat on the mat in 1984 and in 2024."


def tiny(text: Path, out: Path, **changes: object) -> PretrainConfig:
    config = PretrainConfig(
        text=str(text),
        out=str(out),
        vocabulary=280,
        layers=1,
        width=16,
        heads=2,
        feed_forward=32,
        context=64,
        epochs=2,
        batch_tokens=128,
        warmup_steps=2,
        device="cpu",
    )
    return replace(config, **changes)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join([SENTENCE] * 20), encoding="utf-8")
    return path


def test_text_files_hold_documents_between_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("one\nand more\n\n\n\n two \n", encoding="utf-8")
    assert read_documents([str(path)]) == ["one\nand more", "two"]


def test_json_lines_hold_texts_and_conversations(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path.write_text(json.dumps({"text": "one"}) + "\n" + json.dumps({"messages": turns}))
    conversation = (Message("user", "Hi"), Message("assistant", "Hello"))
    assert read_documents(str(path)) == ["one", conversation]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "no text"),
        ("a.txt", b"\xff", "not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"words": "y"}', "line 2.*`text`"),
        ("a.jsonl", b'{"text": ""}', "line 1.*`text`"),
        ("a.jsonl", b'{"messages": []}', "line 1.*`messages`"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}', "line 1.*`content`"),
        ("a.jsonl", b"{", "broken JSON"),
        ("a.jsonl", b'{"text": "x \\ud800"}', "line 1: `text` has half of a surrogate pair"),
        (
            "a.jsonl",
            b'{"messages": [{"role": "user", "content": "\\udfff"}]}',
            "line 1: `content` has half of a surrogate pair",
        ),
    ],
)
def test_unreadable_text_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_documents([str(path)])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.txt: cannot be read"):
        read_documents([str(tmp_path / "absent.txt")])


TEMPLATE = make_template([SENTENCE], tiny(Path("text.txt"), Path("out")))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_survives_the_tokenizer(words: str) -> None:
    tokens = list(TEMPLATE.tokenize([words])[0])
    assert TEMPLATE.tokenizer.decode(tokens) == words


def test_digits_stand_apart_and_padding_is_not_an_end() -> None:
    tokenizer = TEMPLATE.tokenizer
    assert [token for token in tokenizer.tokenize(SENTENCE * 9) if "19" in token] == []
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    turns = (Message("user", "Hi"), Message("assistant", "Hello"))
    assert TEMPLATE.render(turns) == "<|begin|><|user|>Hi<|end|><|assistant|>Hello<|end|>"
    assert TEMPLATE.closing_tokens() == (tokenizer.eos_token_id,)


def test_the_model_loads_in_plain_transformers_and_has_the_reported_loss(
    text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = pretrain(tiny(text, tmp_path / "model", epochs=20, learning_rate=0.02))
    report = json.loads((out / "pretrain.json").read_text())
    caplog.clear()
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert caplog.records == []
    ids = tokenizer(f"<|begin|>{SENTENCE}<|end|>", add_special_tokens=False, return_tensors="pt")
    loss = model(ids.input_ids, labels=ids.input_ids).loss.item()
    # All documents are the same sentence, so any of them is the held-out one.
    assert report["held_out_loss"] == pytest.approx(loss, abs=1e-5)
    assert loss < 0.5 * math.log(len(tokenizer))
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert report["parameters"] == sum(p.numel() for p in model.parameters())
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == list(range(1, len(log) + 1))
    assert log[-1]["loss"] < log[0]["loss"]


def test_a_named_source_brings_its_tokens(tmp_path: Path) -> None:
    walks = "hamiltonian:walks?vertices=4&edge_probability=0.5&test=5&walks=20"
    out = pretrain(tiny(Path(walks), tmp_path / "model", epochs=1))
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.tokenize("0[sep]1[edge_sep]2") == ["0", "[sep]", "1", "[edge_sep]", "2"]
    assert tokenizer.decode(tokenizer("0[sep]1").input_ids, skip_special_tokens=True) == "0[sep]1"
    weights = AutoModelForCausalLM.from_pretrained(out).get_input_embeddings().weight
    assert len(weights) == len(tokenizer)
    assert (
        open_template(out, ("[sep]", "[edge_sep]")).fingerprint
        == ChatTemplate.load(out).fingerprint
    )


def test_the_seed_decides_every_bit(text: Path, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        out = pretrain(tiny(text, tmp_path / name, seed=seed))
        return (out / "model.safetensors").read_bytes()

    first = weights("first", seed=0)
    assert weights("again", seed=0) == first
    assert weights("other", seed=1) != first


def test_long_documents_are_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(SENTENCE * 30, encoding="utf-8")
    out = pretrain(tiny(path, tmp_path / "model", epochs=1, held_out=0.1))
    report = json.loads((out / "pretrain.json").read_text())
    whole = AutoTokenizer.from_pretrained(out)(SENTENCE * 30, add_special_tokens=False)
    total = len(whole.input_ids) + 2
    pieces = math.ceil(total / 64)
    held_out = max(1, round(0.1 * pieces)) * 64
    assert total - held_out <= report["training_tokens"] < total


def test_an_existing_folder_is_left_alone(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="exists"):
        pretrain(tiny(text, out))
    assert (out / "mine.txt").read_text() == "keep me"


def test_a_run_that_diverges_writes_nothing(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(UserError, match="lower learning_rate"):
        pretrain(tiny(text, out, learning_rate=1e30, epochs=20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 260}, "vocabulary must be at least 261"),
        ({"width": 15}, "width"),
        ({"batch_tokens": 32}, "batch_tokens must be at least 64"),
        ({"held_out": 1.0}, "held_out"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite"),
        ({"weight_decay": float("nan")}, "weight_decay"),
    ],
)
def test_impossible_settings_are_refused(
    text: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pretrain(tiny(text, tmp_path / "model", **changes))


def test_a_single_document_is_too_little(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("Hi.")
    with pytest.raises(UserError, match="too little"):
        pretrain(tiny(path, tmp_path / "model"))


def test_text_must_name_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no file"):
        PretrainConfig(text=[], out=str(tmp_path / "model"))
