"""A real language model on real preferences, where they can be had: a few seconds of each."""

import json
import os
from pathlib import Path

import pytest
import torch
from toy import configure, read_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

pytestmark = pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs shared data")


@pytest.fixture
def shared() -> Path:
    return Path(os.environ["REWARDGAP_SHARED"])


def written(tokenizer, record: Record) -> list[str]:
    """Every response of a record as the saved chat template writes it."""
    return [
        tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in record.prompt + response],
            tokenize=False,
        )
        for response in record.responses
    ]


def test_long_real_texts_score_as_in_plain_transformers(shared, tmp_path):
    data = {name: str(shared / "data" / f"{name}.jsonl") for name in ("uf_train200", "uf_test")}
    config = configure(
        tmp_path,
        shared / "models" / "chat-4m",
        train=f"{data['uf_train200']}?limit=24",
        eval={"uf": f"{data['uf_test']}?limit=6"},
        identical_pairs="drop",
        max_length=384,
        epochs=1,
        batch_size=8,
        learning_rate=3e-5,
    )
    run = Run(train(config))
    rows = read_rows(run.scores("uf"))
    tokenizer = AutoTokenizer.from_pretrained(run.reward_model)
    model = AutoModelForSequenceClassification.from_pretrained(run.reward_model).eval()
    compared = 0
    for row, record in zip(rows, load_records(config.eval["uf"]), strict=True):
        if row["truncated"]:
            continue
        compared += 1
        options = {"return_tensors": "pt", "padding": True, "add_special_tokens": False}
        with torch.no_grad():
            logits = model(**tokenizer(written(tokenizer, record), **options)).logits
        rewards = logits[:, 0].tolist()
        assert [row["scores_chosen"], row["scores_rejected"]] == pytest.approx(rewards, abs=1e-5)
    assert 0 < compared < len(rows), "some of the texts are cut, and some are not"


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_a_few_personas_are_learnt(kind, shared, tmp_path):
    """A tenth of the paper's epochs on a third of its prompts, at a higher learning rate."""
    persona = f"persona:{{}}?path={shared / 'data' / 'persona_agreeableness.jsonl'}&train=24&test=8"
    config = configure(
        tmp_path,
        shared / "models" / "chat-4m",
        kind=kind,
        train=persona.format("original-train"),
        eval={"test": persona.format("original-test")},
        epochs=5,
        batch_size=8,
        learning_rate=1e-4,
    )
    metrics = json.loads(Run(train(config)).metrics.read_text())
    assert metrics["test"]["accuracy"]["value"] >= 0.9
