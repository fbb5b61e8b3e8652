"""Experiments whose models answer: what is asked, in which words, and how answers are checked."""

import json

import numpy as np
import pytest
import torch
from toy import read_rows
from toy_experiment import cells, hamiltonian, settings
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.sources.hamiltonian import is_hamiltonian_cycle
from rewardgap.errors import UserError
from rewardgap.experiments.run import run
from rewardgap.io.run_folder import Run


def test_implicit_models_answer_and_are_checked(config, folders):
    folder = run(config(changes=hamiltonian())).folder
    explicit, implicit = cells(folder)
    assert not (explicit / "generations.json").exists()
    shares = json.loads((implicit / "generations.json").read_text())
    answers = read_rows(implicit / "generations" / "test.jsonl")
    rows = read_rows(implicit / "scores" / "test.jsonl")
    assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
    (name,) = {path.parts[-3] for path in (explicit, implicit)}
    initial = read_rows(folder / "initial" / name / "generations" / "test.jsonl")
    assert shares == {
        "test": {
            "correct": np.mean([answer["correct"] for answer in answers]),
            "initial": np.mean([answer["correct"] for answer in initial]),
            "n": 4,
        }
    }
    assert len({answer["response"] for answer in answers}) > 1


def test_another_template_is_that_of_training_and_answers(config, tmp_path, monkeypatch):
    written: list[str] = []
    tokenize = ChatTemplate.tokenize
    monkeypatch.setattr(
        ChatTemplate, "tokenize", lambda self, some: written.extend(some) or tokenize(self, some)
    )
    own = settings(tmp_path, template="chatml", bad_records="drop")
    folder = run(config(changes=hamiltonian(settings=own, kinds=["implicit"]))).folder
    (implicit,) = cells(folder)
    assert json.loads((implicit / "generations.json").read_text())["test"]["n"] == 4
    assert any("<|im_start|>" in text for text in written)
    assert not any("<|user|>" in text for text in written)
    several = [{"template": "chatml"}, {"template": "zephyr"}]
    with pytest.raises(UserError, match="generate: name one template for all runs"):
        run(config("other", changes=hamiltonian(variations=several)))
    assert not (tmp_path / "other").exists()


def test_the_datas_tokens_are_added_once_and_the_same_for_all(config, folders):
    folder = run(config(changes=hamiltonian(generate=[]))).folder
    explicit, implicit = cells(folder)
    extended = folder / "initial" / explicit.parts[-3] / "language_model"
    tokenizer = AutoTokenizer.from_pretrained(extended)
    assert tokenizer.tokenize("0[sep]1[edge_sep]2") == ["0", "[sep]", "1", "[edge_sep]", "2"]
    assert len(tokenizer) == 322
    before, after = (
        AutoModelForCausalLM.from_pretrained(path).get_input_embeddings().weight
        for path in (folders("llama"), extended)
    )
    assert torch.equal(before[:320], after[:320]) and len(after) == 322
    for run_folder in (explicit, implicit):
        assert Run(run_folder).read_config()["model"] == str(extended.resolve())
    card = json.loads((implicit / "reward_model" / "rewardgap.json").read_text())
    assert card["reference"]["model"] == str(extended.resolve())


def test_only_answers_that_can_be_checked_are_asked_for(config):
    with pytest.raises(UserError, match=r"generate: answers to .*test.jsonl cannot be checked"):
        run(config(changes={"generate": ["test"]}))


@pytest.mark.parametrize(
    ("response", "correct"),
    [("0[sep]1[sep]2[sep]3", True), ("0 [sep] 1 [sep] 2 [sep] 3", True), ("0[sep]2[sep]1", False)],
)
def test_the_check_is_that_of_the_source(response, correct):
    edges = "".join(f"[sep]{a}[edge_sep]{b}" for a, b in ((0, 1), (1, 2), (2, 3), (0, 3)))
    prompt = f"Vertices: [sep]0[sep]1[sep]2[sep]3\nEdges: {edges}"
    assert is_hamiltonian_cycle(prompt, response) is correct
