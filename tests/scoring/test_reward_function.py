"""The function that TRL calls, called as `GRPOTrainer._calculate_rewards` of TRL 1.16 does.

RLOO's and the online DPO trainer of that version pass the same keywords.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TEMPLATE, tiny_tokenizer
from transformers import AutoModelForCausalLM

import rewardgap
from rewardgap.configs.kind import KindConfig
from rewardgap.errors import UserError
from rewardgap.scoring.reward_function import reward_function
from rewardgap.scoring.scorer import Scorer

PROMPTS = ["hi", "hi", "two plus two?", "hi"]
COMPLETIONS = ["yes, sure", "no", "four.", ""]
FURTHER = {
    "completion_ids": [[1, 2], [3], [4], []],
    "solution": ["a", "b", "c", "d"],
    "trainer_state": object(),
    "log_extra": print,
    "log_metric": print,
}


@pytest.fixture(scope="module")
def rewards_of(folders):
    return reward_function(str(folders("llama")), kind="implicit-no-reference", device="cpu")


def messages(role: str, texts: list[str]) -> list[list[dict[str, str]]]:
    return [[{"role": role, "content": text}] for text in texts]


@pytest.mark.parametrize("is_conversational", [True, False])
def test_completions_get_the_rewards_of_the_scorer(rewards_of, is_conversational, monkeypatch):
    prompts, completions = PROMPTS, COMPLETIONS
    if is_conversational:
        prompts, completions = messages("user", PROMPTS), messages("assistant", COMPLETIONS)
    seen, compute = [], Scorer.compute
    monkeypatch.setattr(Scorer, "compute", lambda s, trees: seen.append(trees) or compute(s, trees))
    rewards = rewards_of(prompts=prompts, completions=completions, **FURTHER)
    assert isinstance(rewards, list) and all(type(reward) is float for reward in rewards)
    assert [len(tree.leaves) for tree in seen[0]] == [3, 1]  # "hi" is computed once
    expected = [
        rewards_of.scorer.score(*pair)[0] for pair in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    assert rewards == pytest.approx(expected, rel=1e-6)


def test_it_has_a_name_and_refuses_what_does_not_fit(rewards_of, folders):
    assert rewards_of.__name__ == folders("llama").name
    with pytest.raises(UserError, match="2 prompts and 1 completions"):
        rewards_of(prompts=["a", "b"], completions=["c"])
    with pytest.raises(UserError, match="completions"):
        rewards_of(prompts=["a"], completions=[3])


def test_the_chat_template_gets_the_columns_that_it_reads(rewards_of, monkeypatch):
    template = rewards_of.scorer.model.template
    seen, render = [], template.render

    def watched(conversation, *, open_response=False, arguments=None):
        seen.append(arguments)
        return render(conversation, open_response=open_response, arguments=arguments)

    monkeypatch.setattr(template, "render", watched)
    columns = {"chat_template_kwargs": [{"mood": "calm"}, None]}
    rewards_of(prompts=["a", "b"], completions=["c", "d"], **columns)
    assert {"mood": "calm"} in seen and {} in seen


def log_probs_of(folder: Path, prompt: str, response: str) -> torch.Tensor:
    """ln π of the tokens of a response and its end, by plain transformers."""
    tokenizer = tiny_tokenizer()
    before = tokenizer(f"<|begin|><|user|>{prompt}<|end|><|assistant|>")["input_ids"]
    tokens = tokenizer(f"{response}<|end|>")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor([before + tokens])).logits[0]
    predicted = logits[len(before) - 1 : -1].log_softmax(-1)
    return predicted.gather(1, torch.tensor(tokens)[:, None])[:, 0]


@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference"])
def test_rewards_of_tokens_are_those_of_plain_transformers_and_sum_to_the_reward(kind, folders):
    model, reference = folders("llama"), folders("llama", "<|pad|>", TEMPLATE, 1)
    given = {"reference": str(reference)} if kind == "implicit" else {}
    options = KindConfig(beta=0.5)
    scorer = rewardgap.load(str(model), kind=kind, options=options, device="cpu", **given)
    rewards = scorer.token_rewards("is it so?", "yes, sure")
    expected = log_probs_of(model, "is it so?", "yes, sure")
    if given:
        expected -= log_probs_of(reference, "is it so?", "yes, sure")
    assert rewards == pytest.approx((0.5 * expected).tolist(), rel=1e-4, abs=1e-5)
    (reward,) = scorer.score("is it so?", "yes, sure")
    assert np.float32(math.fsum(rewards)) == np.float32(reward)


@pytest.mark.parametrize("kind", ["generative", "length"])
def test_kinds_that_sum_over_no_tokens_refuse(kind, folders):
    scorer = rewardgap.load(str(folders("llama")), kind=kind, device="cpu")
    with pytest.raises(UserError, match="no reward to single tokens"):
        scorer.token_rewards("is it so?", "yes, sure")
