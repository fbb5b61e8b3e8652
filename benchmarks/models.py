"""Models of a known shape with random weights, and real rows cut to what both sides accept."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedTokenizerBase,
)

from rewardgap.configs.training import PretrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.parsing import parse_record
from rewardgap.errors import UserError
from rewardgap.models.language_model import quiet
from rewardgap.training.pretrain import make_template

LIMIT = 1024
"""longest sequence in tokens; TRL drops or cuts longer ones, so that no case has any"""
SETS = ("uf_test", "rewardmath_train")


@dataclass(frozen=True)
class Size:
    """The shape of a Llama with tied embeddings and heads of 64 (or fewer) numbers."""

    layers: int
    width: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    tokenizer: int
    """tokens that the tokenizer knows; the others only make the output layer larger"""

    def shrunk(self) -> "Size":
        """Return a tiny model, to try the harness."""
        return replace(
            self,
            layers=2,
            width=64,
            heads=4,
            key_value_heads=2,
            feed_forward=128,
            vocabulary=max(1000, self.vocabulary // 12),
            tokenizer=1000,
        )


SIZES = {
    # 24 M parameters in the body and 6 M in the head: about 4 : 1, as in Llama-3.2-1B.
    "30m": Size(8, 512, 8, 2, 1536, 12_000, 12_000),
    "30m-128k": Size(8, 512, 8, 2, 1536, 128_000, 12_000),
    "1b": Size(16, 2048, 32, 8, 8192, 128_000, 12_000),
}


@dataclass(frozen=True)
class Workshop:
    """Where models are made, and the data they are made for.

    Attributes:
        folder: an empty folder for models and rows.
        data: folder of the real data sets.
        quick: make tiny models.
    """

    folder: Path
    data: Path
    quick: bool

    def make(self, name: str) -> "Made":
        """Return the model of a size, made when it is first asked for."""
        size = SIZES[name].shrunk() if self.quick else SIZES[name]
        folder = self.folder / name
        return Made(folder) if folder.exists() else make_model(size, self._texts(), folder)

    def _texts(self) -> Iterator[str]:
        for name in SETS:
            for row in self.read(name):
                yield from (row["prompt"], row["chosen"], row["rejected"])

    def read(self, name: str) -> list[dict]:
        """Return the rows of a data set.

        Raises:
            UserError: it is not there.
        """
        path = self.data / f"{name}.jsonl"
        if not path.exists():
            raise UserError(f"{path} does not exist: name the folder of the data sets with --data")
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Made:
    """A model in both forms, which share their body."""

    folder: Path

    @property
    def causal(self) -> Path:
        """The language model."""
        return self.folder / "causal"

    @property
    def classifier(self) -> Path:
        """The same body under a scalar head."""
        return self.folder / "classifier"


def make_model(size: Size, texts: Iterable[str], folder: Path) -> Made:
    """Return a model in both forms, with a tokenizer learned from the texts."""
    made = Made(folder)
    template = make_template(list(texts), _tokenizer_settings(size))
    with quiet():
        _save(size, template.tokenizer, made)
    return made


def _tokenizer_settings(size: Size) -> PretrainConfig:
    return PretrainConfig(text=["-"], out="-", vocabulary=size.tokenizer, context=2 * LIMIT)


def _save(size: Size, tokenizer: PreTrainedTokenizerBase, made: Made) -> None:
    """Write both forms of a model with random weights, always the same."""
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=2 * LIMIT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # a billion draws
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(made.causal)
    classifier = AutoModelForSequenceClassification.from_pretrained(
        made.causal, num_labels=1, problem_type="regression", dtype=torch.float32
    )
    classifier.save_pretrained(made.classifier)
    for folder in (made.causal, made.classifier):
        tokenizer.save_pretrained(folder)


def pairs(name: str, workshop: Workshop, template: ChatTemplate, count: int) -> list[dict]:
    """Return the first `count` pairs of a data set that are within the limit."""
    return _within_limit(workshop.read(name), template, count)


PROMPT_TOKENS, RESPONSE_TOKENS, RESPONSES = 400, 64, 16


def candidates(name: str, workshop: Workshop, template: ChatTemplate, count: int) -> list[dict]:
    """Prompts of 400 tokens with 16 answers of at most 64, cut from real texts of a data set."""
    rows = workshop.read(name)
    stream = template.tokenize([" ".join(row["prompt"] for row in rows)])[0]
    answers = [_cut(template, text) for row in rows for text in (row["chosen"], row["rejected"])]
    made = []
    for number in range(count):
        begin = number * PROMPT_TOKENS % (len(stream) - PROMPT_TOKENS)
        picked = [answers[(number * RESPONSES + k) % len(answers)] for k in range(RESPONSES)]
        prompt = template.tokenizer.decode(stream[begin : begin + PROMPT_TOKENS])
        made.append({"prompt": prompt, "chosen": picked[:1], "rejected": picked[1:]})
    return _within_limit(made, template, count)


def _cut(template: ChatTemplate, text: str) -> str:
    return template.tokenizer.decode(template.tokenize([text])[0][:RESPONSE_TOKENS])


def _within_limit(rows: Sequence[dict], template: ChatTemplate, count: int) -> list[dict]:
    fields = ("prompt", "chosen", "rejected")
    records = [parse_record(row, f"row {number}") for number, row in enumerate(rows, start=1)]
    trees = template.encode(records)
    kept = [
        {field: row[field] for field in fields}
        for row, tree in zip(rows, trees, strict=True)
        if max(len(tree.sequence(leaf)) for leaf in tree.leaves) <= LIMIT
    ]
    if len(kept) < count:
        raise UserError(f"only {len(kept)} rows have at most {LIMIT} tokens: lower --rows")
    return kept[:count]
