"""Length filter and random draw of the paper's experiments (sections 5.3 and 5.4).

A pair is a row whose `prompt`, `chosen` and `rejected` are strings. Pairs are shuffled and the
first that fit are taken, so a smaller sample is the beginning of a larger one.
"""

from collections.abc import Callable
from itertools import islice
from operator import itemgetter
from pathlib import Path

import numpy as np

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError, reported

REFERENCE_TOKENIZER = "meta-llama/Llama-3.2-1B"
NO_TOKENIZER = "none"
MAX_TOKENS = 512  # of the prompt, and of each response


def draw(pairs: Rows, size: int, seed: int, tokenizer: str, option: str) -> Rows:
    """Yield a random sample of `size` of the pairs that `fitting` yields.

    Raises:
        UserError: Fewer pairs fit (names the `option` that gave `size`).
    """
    drawn = list(islice(fitting(pairs, seed, tokenizer), size))
    if len(drawn) < size:
        raise UserError(
            f"{size} pairs were asked for, but only {len(drawn)} pass the filters: lower `{option}`"
        )
    yield from drawn


def fitting(pairs: Rows, seed: int, tokenizer: str) -> Rows:
    """Yield pairs in a random order, without those that are too long or cannot be compared.

    A pair is too long if its prompt or a response has more than `MAX_TOKENS` tokens. It cannot be
    compared if a text is empty or the responses are equal.

    Args:
        pairs: All pairs.
        seed: Determines the order.
        tokenizer: A name on the hub, the path of a `tokenizer.json` or of its folder, or "none".

    Raises:
        UserError: The tokenizer cannot be loaded.
    """
    fits = _length_filter(tokenizer)
    rows = list(pairs)
    for index in np.random.default_rng(seed).permutation(len(rows)):
        location, row = rows[index]
        comparable = row["chosen"] != row["rejected"] and all(map(str.strip, _texts(row)))
        if comparable and fits(row):
            yield location, row


_texts = itemgetter("prompt", "chosen", "rejected")


def _length_filter(name: str) -> Callable[[Row], bool]:
    if name == NO_TOKENIZER:
        return lambda row: True
    # Only the `tokenizers` package: `transformers` would import torch.
    from tokenizers import Tokenizer

    path = Path(name)
    failed = f"{name}: the tokenizer of the length filter cannot be loaded ("
    remedy = (
        "): name another or its folder as `tokenizer=`, or give "
        f"`tokenizer={NO_TOKENIZER}` to keep every length"
    )
    # The library raises bare exceptions, and the hub's client its own.
    with reported(Exception, failed, remedy):
        if path.exists():
            path = path / "tokenizer.json" if path.is_dir() else path
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = Tokenizer.from_pretrained(name)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda row: all(len(tokenizer.encode(text)) <= MAX_TOKENS for text in _texts(row))
