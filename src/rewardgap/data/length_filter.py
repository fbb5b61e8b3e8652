"""Length filter and random draw of the paper's experiments (sections 5.3 and 5.4).

A pair is a row whose `prompt`, `chosen` and `rejected` are strings. Pairs are shuffled and the
first that fit are taken, so a smaller sample is the beginning of a larger one.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError, first_line

REFERENCE_TOKENIZER = "meta-llama/Llama-3.2-1B"
NO_TOKENIZER = "none"
MAX_TOKENS = 512  # of the prompt, and of each response


def draw(pairs: Rows, size: int, seed: int, tokenizer: str, option: str) -> Rows:
    """Yield a random sample of the pairs that fit the length filter.

    Args:
        pairs: All pairs.
        size: Number of pairs to draw.
        seed: Determines the order.
        tokenizer: As for `fitting`.
        option: The option that gives `size`, for the error message.

    Raises:
        UserError: Fewer pairs fit, or the tokenizer cannot be loaded.
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
        tokenizer: A name on the hub, or the path of a `tokenizer.json` or of its folder, or "none"
            for no limit of length.

    Raises:
        UserError: The tokenizer cannot be loaded.
    """
    fits = _length_filter(tokenizer)
    rows = list(pairs)
    for index in np.random.default_rng(seed).permutation(len(rows)):
        location, row = rows[index]
        if _comparable(row) and fits(row):
            yield location, row


def _comparable(row: Row) -> bool:
    return row["chosen"] != row["rejected"] and all(text.strip() for text in _texts(row))


def _texts(row: Row) -> Iterator[str]:
    return (row[key] for key in ("prompt", "chosen", "rejected"))


def _length_filter(name: str) -> Callable[[Row], bool]:
    if name == NO_TOKENIZER:
        return lambda row: True
    # Only the `tokenizers` package: `transformers` would import torch.
    from tokenizers import Tokenizer

    path = Path(name)
    try:
        if path.exists():
            path = path / "tokenizer.json" if path.is_dir() else path
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = Tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises bare exceptions, and the hub's client its own
        raise UserError(
            f"{name}: the tokenizer of the length filter cannot be loaded ({first_line(error)}): "
            "name another or its folder as `tokenizer=`, or give "
            f"`tokenizer={NO_TOKENIZER}` to keep every length"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda row: all(len(tokenizer.encode(text)) <= MAX_TOKENS for text in _texts(row))
