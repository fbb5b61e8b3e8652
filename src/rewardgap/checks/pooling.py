"""Which token carries the reward, and whether every tool reads the same one.

The rules are those of the tools' own code: transformers takes the last token that is not its
configuration's pad token, TRL sets that to the tokenizer's pad token or else to its end-of-sequence
token, vLLM takes the last position, and OpenRLHF ends every text with the end-of-sequence token and
reads there.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np

from rewardgap.checks.checkpoints import Checkpoint, WrittenResponse, ranked_right
from rewardgap.checks.findings import CheckFinding
from rewardgap.evaluation.text import join_names, share
from rewardgap.io.progress import progress

Tokens = tuple[int, ...]


def _before_pads(tokens: Tokens, pad: int | None) -> Tokens:
    """Return the tokens up to the last one that is no padding; all, if all are."""
    ends = [index for index, token in enumerate(tokens, start=1) if token != pad]
    return tokens[: ends[-1]] if ends else tokens


def _read_by_transformers(checkpoint: Checkpoint, response: WrittenResponse) -> Tokens:
    return _before_pads(response.tokens, checkpoint.pad)


def _read_by_trl(checkpoint: Checkpoint, response: WrittenResponse) -> Tokens:
    tokenizer = checkpoint.tokenizer
    pad = tokenizer.pad_token_id
    return _before_pads(response.tokens, tokenizer.eos_token_id if pad is None else pad)


def _read_by_vllm(checkpoint: Checkpoint, response: WrittenResponse) -> Tokens:
    return response.tokens


def _read_by_openrlhf(checkpoint: Checkpoint, response: WrittenResponse) -> Tokens:
    tokenizer = checkpoint.tokenizer
    if tokenizer.eos_token is None:
        return response.tokens
    text = response.text.rstrip("\n")
    if not text.endswith(tokenizer.eos_token):
        text += " " + tokenizer.eos_token
    return (*checkpoint.tokenize(text)[:-1], tokenizer.eos_token_id)


READERS: Mapping[str, Callable[[Checkpoint, WrittenResponse], Tokens]] = {
    "transformers": _read_by_transformers,
    "TRL": _read_by_trl,
    "vLLM-style pooling": _read_by_vllm,
    "OpenRLHF": _read_by_openrlhf,
}
"""Sequences whose last token a tool reads."""


def find_reward_token(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield where the reward is read, and what it costs where tools read it elsewhere."""
    if not checkpoint.is_classifier or not checkpoint.reads_by_pad:
        return
    sequences = {
        name: [read(checkpoint, response) for response in checkpoint.written]
        for name, read in READERS.items()
    }
    usual = sequences["transformers"]
    odd = [name for name, tokens in sequences.items() if tokens != usual]
    place = checkpoint.token_text(usual[0][-1])
    if not odd:
        what = f"the reward is read at {place} by {join_names(list(READERS))} alike"
        yield CheckFinding("note", "reward token", what)
        return
    read = cache(checkpoint.reward_at_end)  # most tools read most sequences alike
    rewards = {
        name: np.array([read(tokens) for tokens in progress(sequences[name], f"as {name} reads")])
        for name in ("transformers", *odd)
    }
    others = [f"{name} at {checkpoint.token_text(sequences[name][0][-1])}" for name in odd]
    yield CheckFinding(
        "note" if odd == ["OpenRLHF"] else "error",
        "reward token",
        f"transformers reads the reward at {place}, {join_names(others)}",
        ranked_right(rewards),
        "read it where it was read in training; that all agree, give it a pad token that ends no "
        "turn, in tokenizer and config.json, and a template that ends in the end-of-sequence token",
    )


def find_pad(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield pad tokens that also end a response, that are missing, or that are two."""
    tokenizer, pad = checkpoint.tokenizer, checkpoint.pad
    endings = {tokenizer.eos_token_id, *_closing(checkpoint)} - {None}
    if checkpoint.is_classifier and pad is not None and pad in endings:
        before = sum(
            _before_pads(response.tokens, pad) != response.tokens for response in checkpoint.written
        )
        yield CheckFinding(
            "error" if before else "warning",
            "pad ends a response",
            f"the pad token {checkpoint.token_text(pad)} is also a token that ends a response",
            f"{share(before, len(checkpoint.written), 'reward')} are read one token before the end",
            "add a pad token of its own to tokenizer and config.json, and read again what was "
            "scored before",
        )
    if checkpoint.is_classifier and checkpoint.reads_by_pad and pad is None:
        yield CheckFinding(
            "error",
            "no pad token",
            "config.json names no pad_token_id",
            "transformers refuses batches of more than one response",
            "set pad_token_id in config.json to a token that is in no text",
        )
    elif checkpoint.is_classifier and pad is not None and tokenizer.pad_token_id not in (None, pad):
        yield CheckFinding(
            "error",
            "two pad tokens",
            f"the tokenizer pads with {tokenizer.pad_token!r}, but config.json takes "
            f"{checkpoint.token_text(pad)} for padding",
            "in a padded batch the reward is read at a pad token",
            "set pad_token_id in config.json to the tokenizer's pad token",
        )


def _closing(checkpoint: Checkpoint) -> set[int]:
    """Return the tokens that end the responses, where all end in the same one."""
    return set.intersection(*({response.tokens[-1]} for response in checkpoint.written))
