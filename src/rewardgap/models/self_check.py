"""A check of a loaded model on a few tokens: whether it may read packs of trees."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, first_line
from rewardgap.models.attention import TREE_ATTENTION
from rewardgap.models.mask_probe import misread_mask
from rewardgap.models.packing import Pack, pack
from rewardgap.models.reading import PlainReading, Reading, TreeReading, body_of, read_sequences

TOLERANCE, TOLERANCE_OF_HALVES = 1e-4, 5e-2
MOST_ROUNDING = 0.2
"""No larger distance is ever put down to rounding."""
LENGTH = 4
"""Tokens of each prompt and of each response of the check, so that nothing is padded."""
SEQUENCES = ((0, 1), (0, 2), (3, 4), (3, 5))
"""The prompt and the response of every sequence, among the texts in the order of the pack."""
# Layers that mix tokens in other ways may be right on a few tokens and wrong on many.
LAYER_TYPES = {"full_attention", "sliding_attention"}
SPARSE_ATTENTION = ("index_topk",)
STRETCHED = ("longrope", "dynamic")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """Two records of two responses each, as (4, T) token ids and as a pack."""

    tokens: torch.Tensor
    packed: Pack

    @classmethod
    def draw(cls, vocabulary: int) -> "Sample":
        """Return a sample of random tokens, from a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        low, high = (10, min(vocabulary, 1000)) if vocabulary > 20 else (0, vocabulary)
        texts = torch.randint(low, high, (6, LENGTH), generator=generator)
        rows = torch.stack([torch.cat([texts[i], texts[j]]) for i, j in SEQUENCES])
        nodes = [tuple(text) for text in texts.tolist()]
        trees = [
            Tree("check", tuple(nodes[first : first + 3]), (-1, 0, 0), 1, 1, (LENGTH, LENGTH))
            for first in (0, 3)
        ]
        return cls(rows, pack(trees))

    def in_row(self, states: torch.Tensor) -> torch.Tensor:
        """Return (4, T, D) states of the sequences as (N, D) states of the pack."""
        prompts, responses = states.split(LENGTH, dim=1)
        order = (prompts[0], responses[0], responses[1], prompts[2], responses[2], responses[3])
        return torch.cat(order)


@dataclass(frozen=True)
class SelfCheck:
    """What a loaded model made of a sample of tokens.

    Attributes:
        reading: How it reads packs.
        tokens: (4, T) ids of the sequences.
        states: (4, T, D) final hidden states of the sequences, by plain transformers.
        logits: What the whole model gives for them.
        attention: The name of the model's own attention.
    """

    reading: Reading
    tokens: torch.Tensor
    states: torch.Tensor
    logits: torch.Tensor
    attention: str

    @property
    def is_causal(self) -> bool:
        """Whether the states of a prompt are the same before different responses."""
        prompts = self.states[:, :LENGTH]
        return distance(prompts[0], prompts[1]) <= tolerance(prompts.dtype)


def check_model(model: PreTrainedModel, name: str) -> SelfCheck:
    """Check how a loaded model reads packs, and set its attention accordingly.

    A pack of two records is compared with the four sequences alone, as plain transformers reads
    them. A model whose states differ, or might differ on longer sequences, reads sequence by
    sequence, which a warning says.

    Args:
        model: A model with its own attention, in evaluation mode.
        name: How messages call it.

    Raises:
        UserError: The model does not read sequences of tokens at all.
    """
    sample = Sample.draw(embedding_rows(model))
    own: Any = model.config._attn_implementation
    with torch.no_grad():
        states, logits = _read_plainly(model, sample, name)
        try:
            reading, reason = _tree_reading(model, sample, states)
        except Exception as error:
            reading, reason = None, first_line(error)
    if reading is None:
        model.set_attn_implementation(own)
        logger.warning(
            "%s: %s is computed sequence by sequence, which is slower: %s",
            *(name, type(model).__name__, reason),
        )
    return SelfCheck(reading or PlainReading(_limit(model)), sample.tokens, states, logits, own)


def classify(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of a classification model for (B, T) tokens, none of which are padding."""
    with torch.no_grad(), padding_is(model, -1):
        return cast(torch.Tensor, read_sequences(model, model, tokens).logits)


def _read_plainly(
    model: PreTrainedModel, sample: Sample, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states and the logits of a sample's sequences."""
    try:
        with padding_is(model, -1):
            logits = read_sequences(model, model, sample.tokens).logits
        return read_sequences(model, body_of(model), sample.tokens).last_hidden_state, logits
    except Exception as error:
        raise UserError(
            f"{name}: {type(model).__name__} does not read text as a language model: "
            f"{first_line(error)}"
        ) from error


@contextmanager
def padding_is(model: PreTrainedModel, token: int | None) -> Iterator[None]:
    """Have a classification model take a token for padding; -1 is none, for batches too."""
    configs = (model.config, model.config.get_text_config())
    before = [config.pad_token_id for config in configs]
    try:
        for config in configs:
            config.pad_token_id = token
        yield
    finally:
        for config, usual in zip(configs, before, strict=True):
            config.pad_token_id = usual


def _tree_reading(
    model: PreTrainedModel, sample: Sample, plain: torch.Tensor
) -> tuple[Reading | None, str]:
    """Return a reading of packs that gives the states expected, or None and the reason.

    `plain` are the (4, T, D) states of the sequences.
    """
    positions = torch.arange(1, len(sample.packed.tokens))
    reason = _other_layers(model) or misread_mask(model, sample.tokens[0])
    if reason is not None:
        return None, reason
    expected, allowed = sample.in_row(plain), _rounding(model, sample, plain)
    model.set_attn_implementation(TREE_ATTENTION)
    for last_mlp in (True, False):
        reading = TreeReading(_limit(model), last_mlp)
        try:
            states = reading.states(model, sample.packed, positions)
        except Exception as error:
            reason = first_line(error)
            continue
        apart = distance(states[positions], expected[positions])
        if apart <= allowed:
            return reading, ""
        reason = f"in one row, records change each other's hidden states by {apart:.2g}"
    return None, str(reason)


def _rounding(model: PreTrainedModel, sample: Sample, plain: torch.Tensor) -> float:
    """Return how far rounding alone may move the states of a model.

    In half precision it depends on the depth and on the weights (Gemma 3 270M: 0.07), and is told
    by twice the distance between two attentions of transformers.
    """
    usual = tolerance(plain.dtype)
    own: Any = model.config._attn_implementation
    if plain.dtype.itemsize >= 4 or own == "eager":
        return usual
    try:
        model.set_attn_implementation("eager")
        states = read_sequences(model, body_of(model), sample.tokens).last_hidden_state
    except Exception:  # a model may have but one attention
        return usual
    finally:
        model.set_attn_implementation(own)
    return max(usual, min(2 * distance(states, plain), MOST_ROUNDING))


def _other_layers(model: PreTrainedModel) -> str | None:
    """Return why a model's layers may differ from trees on longer sequences, by its settings."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES
    if kinds:
        return f"it has layers of the kind {min(map(str, kinds))}"
    sparse = [key for key in SPARSE_ATTENTION if getattr(config, key, None) is not None]
    return f"its attention is sparse ({sparse[0]})" if sparse else None


def _limit(model: PreTrainedModel) -> int | None:
    """Return the length beyond which rotary embeddings depend on the longest sequence of a row."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    settings = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if not any(kind in str(values.get("rope_type")) for values in settings for kind in STRETCHED):
        return None
    lengths = [values.get("original_max_position_embeddings") for values in settings]
    known = [int(length) for length in (*lengths, config.max_position_embeddings) if length]
    return min(known)


def embedding_rows(model: PreTrainedModel) -> int:
    """Return the number of tokens that a model has embeddings of."""
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Module)
    weight = embedding.weight
    assert isinstance(weight, torch.Tensor)
    return len(weight)


def distance(states: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest distance of (…, D) vectors from those expected, relative to their norm."""
    difference = (states.double() - expected.double()).norm(dim=-1)
    return float((difference / expected.double().norm(dim=-1).clamp_min(1e-30)).max())


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative distance that rounding explains."""
    return TOLERANCE if dtype.itemsize >= 4 else TOLERANCE_OF_HALVES
