"""Pretraining: a small causal language model and its tokenizer, made from text alone.

For those without a hub, and for the demo. The model is a Llama, its tokenizer a byte-level BPE with
digits apart; both load in plain transformers. A document is a tree like any other: its first token
is the root, and the rest is one leaf, of which every token is predicted.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    get_scheduler,
)

from rewardgap.configs.training import PretrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.documents import Document, read_documents, texts
from rewardgap.data.load import added_tokens
from rewardgap.data.trees import Tokens, Tree
from rewardgap.errors import UserError
from rewardgap.io.files import whole_folder, write_text
from rewardgap.io.progress import progress
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.devices import autocast, choose_device, choose_dtype
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import micro_batches, pack

logger = logging.getLogger(__name__)

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
SPECIAL_TOKENS = (PAD, BEGIN, END, "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256  # every byte is a token
MAX_GRADIENT_NORM = 1.0


def pretrain(config: PretrainConfig) -> Path:
    """Make a language model: tokenizer, weights, `log.jsonl` (a line a step) and `pretrain.json`.

    The same seed gives the same bits on a CPU with the same number of threads. Nothing is written
    before the end, and then everything at once.

    Returns:
        the model's folder.

    Raises:
        UserError: the text cannot be read or is too little, `out` exists, or the loss diverges.
    """
    out = Path(config.out)
    if out.exists():
        raise UserError(f"{out} exists; choose another out")
    documents = read_documents(config.text)
    template = make_template(documents, config)
    trees = _trees(_pieces(documents, template, config.context))
    if len(trees) < 2:
        raise UserError("the text is too little: give more than one document")
    training, held_out = _split(trees, config)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = new_model(template, config)
    model.to(device)  # type: ignore[arg-type]
    log = fit(model, training, config, dtype)
    report = {
        "settings": asdict(config),
        "parameters": model.num_parameters(),
        "training_tokens": sum(tree.size for tree in training),
        "held_out_loss": held_out_loss(model, held_out, config.batch_tokens, dtype),
    }
    logger.info("held-out loss: %.3f nats a token", report["held_out_loss"])
    with whole_folder(out) as folder:
        LanguageModel(model).save(folder, template)
        write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in log))
        write_text(folder / "pretrain.json", json.dumps(report, indent=2) + "\n")
    return out


def make_template(documents: Sequence[Document], config: PretrainConfig) -> ChatTemplate:
    """A byte-level BPE tokenizer learned from the documents, with the chat template.

    Every text is tokenized without loss. Pad and end are different tokens, so that padding can
    never be taken for the end of a response. Tokens that a named source adds come last.

    Raises:
        UserError: the vocabulary has no room for every byte.
    """
    if config.vocabulary < SMALLEST_VOCABULARY:
        raise UserError(f"vocabulary must be at least {SMALLEST_VOCABULARY}, to hold every byte")
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain.from_iterable(map(texts, documents)), trainer)
    tokenizer.add_tokens(list(added_tokens(config.text)))
    return ChatTemplate(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PAD,
            bos_token=BEGIN,
            eos_token=END,
            extra_special_tokens=list(SPECIAL_TOKENS[3:]),
            model_max_length=config.context,
            chat_template=CHAT_TEMPLATE,
        )
    )


def _pieces(documents: Sequence[Document], template: ChatTemplate, context: int) -> list[Tokens]:
    """The documents' tokens, begin and end included, cut into pieces of at most `context`."""
    rendered = [
        f"{BEGIN}{each}{END}" if isinstance(each, str) else template.render(each)
        for each in documents
    ]
    pieces = (
        tokens[start : start + context]
        for tokens in template.tokenize(rendered)
        for start in range(0, len(tokens), context)
    )
    return [piece for piece in pieces if len(piece) > 1]  # a lone token predicts nothing


def _trees(pieces: Sequence[Tokens]) -> list[Tree]:
    return [
        Tree(
            record=f"document {number}",
            nodes=(tokens[:1], tokens[1:]),
            parents=(-1, 0),
            chosen=1,
            rejected=0,
            lengths=(len(tokens) - 1,),
        )
        for number, tokens in enumerate(pieces, start=1)
    ]


def _split(trees: Sequence[Tree], config: PretrainConfig) -> tuple[list[Tree], list[Tree]]:
    """Trees to learn from and trees to measure on; at least one of each."""
    order = np.random.default_rng(config.seed).permutation(len(trees)).tolist()
    count = min(max(1, round(config.held_out * len(trees))), len(trees) - 1)
    return [trees[i] for i in order[count:]], [trees[i] for i in order[:count]]


def new_model(template: ChatTemplate, config: PretrainConfig) -> PreTrainedModel:
    """A Llama with random float32 weights, the same for the same seed."""
    tokenizer = template.tokenizer
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = AutoModelForCausalLM.from_config(
            llama, attn_implementation=TREE_ATTENTION, dtype=torch.float32
        )
    return cast(PreTrainedModel, model)


def fit(
    model: PreTrainedModel, trees: Sequence[Tree], config: PretrainConfig, dtype: torch.dtype
) -> list[dict[str, float]]:
    """Train `model` in place by AdamW, a cosine after the warm-up, and clipped gradients.

    Returns:
        for every step its number, its loss in nats a token, and its learning rate.

    Raises:
        UserError: the loss is not finite.
    """
    batches = plan_batches([tree.size for tree in trees], config)
    adam = _optimizer(model, config)
    schedule = get_scheduler("cosine", adam, config.warmup_steps, len(batches))
    log = []
    model.train()
    bar = progress(batches, "pretraining")
    began = time.perf_counter()
    for step, batch in enumerate(bar, start=1):
        loss = -_log_probs(model, [trees[i] for i in batch], dtype).mean()
        if not loss.isfinite():
            raise UserError(f"the loss is {loss.item()} at step {step}: lower learning_rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        log.append({"step": step, "loss": loss.item(), "learning_rate": schedule.get_last_lr()[0]})
        adam.step()
        schedule.step()
        adam.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{log[-1]['loss']:.3f}")
    model.eval()
    tokens = config.epochs * sum(tree.size for tree in trees)
    logger.info("%d tokens in %.0f s", tokens, time.perf_counter() - began)
    return log


def _optimizer(model: PreTrainedModel, config: PretrainConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices and leaves the scales of the norms alone."""
    groups: list[dict[str, object]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
        fused=True,
    )


def plan_batches(sizes: Sequence[int], config: PretrainConfig) -> list[list[int]]:
    """Indices of the documents of every step: each epoch has every document once, reshuffled.

    A step takes documents while they hold at most `batch_tokens` tokens.
    """
    batches: list[list[int]] = []
    for epoch in range(config.epochs):
        room = 0
        order = np.random.default_rng([config.seed, epoch]).permutation(len(sizes)).tolist()
        for i in order:
            if i == order[0] or sizes[i] > room:
                batches.append([])
                room = config.batch_tokens
            batches[-1].append(i)
            room -= sizes[i]
    return batches


@torch.no_grad()
def held_out_loss(
    model: PreTrainedModel, trees: Sequence[Tree], batch_tokens: int, dtype: torch.dtype
) -> float:
    """Mean loss of `trees` in nats a token."""
    groups = micro_batches(trees, batch_tokens, model.device)
    losses = [-_log_probs(model, [trees[i] for i in group], dtype) for group in groups]
    return torch.cat(losses).mean().item()


def _log_probs(model: PreTrainedModel, trees: Sequence[Tree], dtype: torch.dtype) -> torch.Tensor:
    """Return log-probabilities of all tokens of the trees but the first of each."""
    language_model, batch = LanguageModel(model), pack(trees).to(model.device)
    with autocast(model.device, torch.float32, dtype):
        states = language_model.hidden_states(batch)[batch.predicting_positions]
        return language_model.vocabulary.log_probs(states, batch.response_tokens)
