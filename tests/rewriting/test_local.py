"""Rewriting by a model that is computed here."""

import json
import math
from pathlib import Path

import torch
from tiny import tiny_model
from toy import pair_rows, read_rows, write_rows
from transformers import AutoModelForCausalLM

import rewardgap
from rewardgap.scoring import generation

END, CHANCE = 1, 0.1


def rambling_model(folder: Path) -> Path:
    """A model that says any token, and ends its turn with a chance, whatever was said before."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model(folder, "gpt-neox"))
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.weight.zero_()
        model.gpt_neox.final_layer_norm.bias.zero_()[0] = 1.0
        model.lm_head.weight.zero_()
        model.lm_head.weight[END, 0] = math.log(CHANCE / (1 - CHANCE) * 319)
    model.save_pretrained(folder)
    return folder


def test_a_model_directory_rewrites_and_is_not_asked_again(tmp_path, monkeypatch):
    model = rambling_model(tmp_path / "model")
    settings = {"data": write_rows(tmp_path / "in.jsonl", pair_rows(3)), "model": model}
    settings |= {"instruction": "Say it otherwise.", "out": tmp_path / "out.jsonl"}
    settings |= {"cache": tmp_path / "cache", "device": "cpu", "max_tokens": 40, "attempts": 9}
    result = rewardgap.rewrite(**settings)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"pair-{i}" for i in range(3)]
    figures = json.loads((tmp_path / "out.jsonl.rewriting.json").read_text())
    ((version, answers),) = figures["versions"].items()
    assert version.startswith(str(model)) and answers == figures["new"]["answers"] >= 5
    assert figures["faults"].keys() <= {"truncated", "empty", "numbers"}
    assert figures["new"]["tokens_written"] <= 40 * answers
    monkeypatch.delattr(generation, "Sampler")  # no model is loaded
    again = rewardgap.rewrite(**settings, overwrite=True)
    assert again.figures["cached"] == result.figures["new"]
    assert read_rows(tmp_path / "out.jsonl") == rows
