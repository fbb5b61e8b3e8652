"""Tiny random language models, made on the spot, one of each architecture."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

TEXT = [
    "Is the following statement something you would say? I like to help people.",
    "Question: what is two plus two? Answer: four. Verification: Is the answer correct (Yes/No)?",
    "A truthful reply is yes, sure. My judgement: no, never. Certainly! Absolutely, not really.",
    "The quick brown fox jumps over the lazy dog 0123456789.",
]
SPECIAL = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
ARCHITECTURES = ("llama", "gpt-neox", "qwen2", "gemma2")


@cache
def _bpe() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(
    pad: str | None = "<|pad|>", template: str | None = TEMPLATE
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 320 tokens."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe()), bos_token="<|begin|>", eos_token="<|end|>"
    )
    tokenizer.pad_token = pad
    tokenizer.chat_template = template
    return tokenizer


def tiny_config(architecture: str) -> PreTrainedConfig:
    """A configuration whose oddities show: windows, soft caps, grouped heads, tied embeddings."""
    shared = {**SIZES, "vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1}
    if architecture == "llama":
        return LlamaConfig(**shared, num_key_value_heads=2, tie_word_embeddings=False)
    if architecture == "gpt-neox":
        return GPTNeoXConfig(**shared, tie_word_embeddings=False)
    if architecture == "qwen2":
        return Qwen2Config(
            **shared,
            num_key_value_heads=2,
            use_sliding_window=True,
            sliding_window=16,
            max_window_layers=1,
            tie_word_embeddings=True,
        )
    if architecture == "qwen3":
        return Qwen3Config(**shared, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True)
    if architecture == "gemma3":
        return Gemma3TextConfig(**shared, num_key_value_heads=2, head_dim=8, sliding_window=16)
    return Gemma2Config(
        **shared,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=16,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
    )


@torch.no_grad()
def randomise(model: PreTrainedModel, std: float = 0.3) -> PreTrainedModel:
    """Draw weights that are large enough for nothing to be near zero."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=std)
    return model


def tiny_model(
    folder: Path,
    architecture: str = "llama",
    pad: str | None = "<|pad|>",
    template: str | None = TEMPLATE,
    seed: int = 0,
) -> Path:
    """Save a random model and its tokenizer."""
    tokenizer = tiny_tokenizer(pad, template)
    torch.manual_seed(seed)
    config = tiny_config(architecture)
    config.pad_token_id = tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(config)
    randomise(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
