"""Responses of a language model, against plain transformers on one sequence without padding."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardgap.data.records import Message
from rewardgap.scoring.generation import Sampler, Sampling


def test_the_likeliest_responses_are_those_of_single_sequences(folders):
    folder = folders("llama")
    texts = ["hi", "Is the following statement something you would say?", "two plus two?"]
    sampling = Sampling(0, torch.device("cpu"), 100, temperature=0.0, max_tokens=24)
    prompts = [((Message("user", text),), {}) for text in texts]
    responses = dict(Sampler(folder, sampling).sample(prompts))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for index, text in enumerate(texts):
        rows = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt"
        )["input_ids"]
        row = model.generate(rows, do_sample=False, max_new_tokens=24)[0, rows.shape[1] :]
        response, ended = responses[index], bool((row == tokenizer.eos_token_id).any())
        assert response.text == tokenizer.decode(row[: len(row) - ended])
        assert (response.prompt_tokens, response.tokens) == (rows.shape[1], len(row))
        assert response.is_ended == ended


def test_other_seeds_and_temperatures_sample_others(folders):
    prompts = [((Message("user", "hi"),), {})]

    def text(seed: int, temperature: float) -> str:
        sampling = Sampling(9, torch.device("cpu"), None, temperature=temperature, max_tokens=16)
        ((_, response),) = Sampler(folders("llama"), sampling).sample(prompts, seed)
        return response.text

    assert text(1, 1.0) == text(1, 1.0) != text(2, 1.0)
    assert text(1, 0.01) == text(2, 0.01) == text(2, 0.0)
