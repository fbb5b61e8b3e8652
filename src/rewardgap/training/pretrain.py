"""Pretraining: a small causal language model and its tokenizer, made from text alone.

For those without a hub, and for the demo. The model is a Llama, its tokenizer a byte-level BPE with
single digits; both load in plain transformers. A document is a tree like any other: its first token
is the root, and the rest is one leaf, of which every token is predicted.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, get_scheduler

from rewardgap.configs.training import PretrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.documents import Document, read_documents, texts
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import added_tokens
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.files import whole_folder, write_text
from rewardgap.io.progress import duration, progress
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.devices import autocast, choose_device, choose_dtype
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import micro_batches, pack
from rewardgap.training.batches import BatchSampler

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


@by_keywords(PretrainConfig)
def pretrain(config: PretrainConfig) -> Path:
    """Make a language model: tokenizer, weights, `log.jsonl` (a line per step), `pretrain.json`.

    The same seed gives the same bits on a CPU with the same number of threads. Nothing is written
    before the end, and then everything at once. Return the model's folder.

    Raises:
        UserError: The text cannot be read or is too little, `out` exists, or the loss diverges.
    """
    out = Path(config.out)
    if out.exists():
        raise UserError(f"{out} exists; choose another out")
    documents = read_documents(config.text)
    template = make_template(documents, config)
    trees = _trees(documents, template, config.context)
    if len(trees) < 2:
        raise UserError("the text is too little: give more than one document")
    order = np.random.default_rng(config.seed).permutation(len(trees)).tolist()
    count = min(max(1, round(config.held_out * len(trees))), len(trees) - 1)
    held_out, training = [trees[i] for i in order[:count]], [trees[i] for i in order[count:]]
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = new_model(template, config).to(device)
    log = fit(model, training, config, dtype)
    report = {
        "settings": asdict(config),
        "parameters": model.model.num_parameters(),
        "training_tokens": sum(tree.size for tree in training),
        "held_out_loss": held_out_loss(model, held_out, config.batch_tokens, dtype),
    }
    logger.info("pretrained: held-out loss %.3f nats per token", report["held_out_loss"])
    with whole_folder(out) as folder:
        model.save(folder, template)
        write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in log))
        write_text(folder / "pretrain.json", json.dumps(report, indent=2) + "\n")
    return out


def make_template(documents: Sequence[Document], config: PretrainConfig) -> ChatTemplate:
    """Train a byte-level BPE tokenizer on the documents and give it the chat template.

    Every text is tokenized without loss. Pad and end are different tokens, so that padding can
    never be taken for the end of a response. Tokens that a named source adds come last.
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


def _trees(documents: Sequence[Document], template: ChatTemplate, context: int) -> list[Tree]:
    """Return the documents' tokens, begin and end included, in pieces of at most `context`."""
    rendered = [
        f"{BEGIN}{document}{END}" if isinstance(document, str) else template.render(document)
        for document in documents
    ]
    pieces = (
        tokens[start : start + context]
        for tokens in template.tokenize(rendered)
        for start in range(0, len(tokens), context)
    )
    longer = (piece for piece in pieces if len(piece) > 1)  # a lone token predicts nothing
    return [
        Tree(f"document {number}", (ids[:1], ids[1:]), (-1, 0), 1, 0, lengths=(len(ids) - 1,))
        for number, ids in enumerate(longer, start=1)
    ]


def new_model(template: ChatTemplate, config: PretrainConfig) -> LanguageModel:
    """Return a Llama with random float32 weights, the same for the same seed."""
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
    return LanguageModel(model)


def fit(
    model: LanguageModel, trees: Sequence[Tree], config: PretrainConfig, dtype: torch.dtype
) -> list[dict[str, float]]:
    """Train in place by AdamW, a cosine after the warm-up, and clipped gradients; return the log.

    Matrices decay, the scales of the norms do not. The log has a row of every step's number, loss
    in nats per token and learning rate.

    Raises:
        UserError: The loss is not finite.
    """
    sizes = [tree.size for tree in trees]
    batches = BatchSampler(sizes, config.batch_tokens, config.epochs, config.seed)
    parameters = list(model.model.parameters())
    groups: list[dict[str, object]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    schedule = get_scheduler("cosine", adam, config.warmup_steps, len(batches))
    log = []
    model.model.train()
    bar = progress(batches, "pretraining")
    began = time.perf_counter()
    for step, batch in enumerate(bar, start=1):
        loss = -_log_probs(model, [trees[i] for i in batch], dtype).mean()
        if not loss.isfinite():
            raise UserError(f"the loss is {loss.item()} at step {step}: lower learning_rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        log.append({"step": step, "loss": loss.item(), "learning_rate": schedule.get_last_lr()[0]})
        adam.step()
        schedule.step()
        adam.zero_grad(set_to_none=True)
        bar.say(loss=log[-1]["loss"])
    model.model.eval()
    tokens, seconds = config.epochs * sum(sizes), time.perf_counter() - began
    logger.info("pretrained on %s tokens in %s", f"{tokens:,}", duration(seconds))
    return log


@torch.no_grad()
def held_out_loss(
    model: LanguageModel, trees: Sequence[Tree], batch_tokens: int, dtype: torch.dtype
) -> float:
    """Return the mean loss of `trees` in nats per token."""
    groups = micro_batches(trees, batch_tokens, model.device)
    losses = [-_log_probs(model, [trees[i] for i in group], dtype) for group in groups]
    return torch.cat(losses).mean().item()


def _log_probs(model: LanguageModel, trees: Sequence[Tree], dtype: torch.dtype) -> torch.Tensor:
    """Return log-probabilities of all tokens of the trees but the first of each."""
    batch = pack(trees).to(model.device)
    with autocast(model.device, torch.float32, dtype):
        states = model.hidden_states(batch)[batch.predicting_positions]
        return model.vocabulary.log_probs(states, batch.response_tokens)
