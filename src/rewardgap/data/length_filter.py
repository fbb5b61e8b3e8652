"""Which pairs of a published data set the paper's experiments use (sections 5.3 and 5.4).

A pair is a row whose `prompt`, `chosen` and `rejected` are strings. Pairs are put in a random
order and the first that fit are taken, so a smaller sample is the beginning of a larger one.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rewardgap.data.records import Row, Rows
from rewardgap.errors import UserError, first_line

REFERENCE_TOKENIZER = "meta-llama/Llama-3.2-1B"
NO_TOKENIZER = "none"
MOST_TOKENS = 512  # of the prompt, and of each response


def draw(pairs: Rows, size: int, seed: int, tokenizer: str, option: str) -> Rows:
    """Draw pairs that fit the length filter.

    Args:
        pairs: All pairs.
        size: How many to draw.
        seed: Decides the order.
        tokenizer: As `fitting` takes it.
        option: The option that `size` was given by, for the error.

    Raises:
        UserError: Fewer pairs fit, or the tokenizer cannot be had.
    """
    drawn = list(islice(fitting(pairs, seed, tokenizer), size))
    if len(drawn) < size:
        raise UserError(
            f"{size} pairs were asked for, and {len(drawn)} are left after the filters: lower "
            f"`{option}`"
        )
    yield from drawn


def fitting(pairs: Rows, seed: int, tokenizer: str) -> Rows:
    """Put pairs in a random order, and leave out those that are too long or cannot be compared.

    Left out are pairs of which the prompt or a response has more than `MOST_TOKENS` tokens, and
    those with an empty text or twice the same response.

    Args:
        pairs: All pairs.
        seed: Decides the order.
        tokenizer: Its name on the hub, or the path of a `tokenizer.json` or of its folder, or
            "none" for no limit of length.

    Raises:
        UserError: The tokenizer cannot be had.
    """
    fits = _length_filter(tokenizer)
    rows = list(pairs)
    for index in np.random.default_rng(seed).permutation(len(rows)):
        where, row = rows[index]
        if _comparable(row) and fits(row):
            yield where, row


def _comparable(row: Row) -> bool:
    return row["chosen"] != row["rejected"] and all(text.strip() for text in _texts(row))


def _texts(row: Row) -> Iterator[str]:
    return (row[key] for key in ("prompt", "chosen", "rejected"))


def _length_filter(name: str) -> Callable[[Row], bool]:
    if name == NO_TOKENIZER:
        return lambda row: True
    # The fast tokenizers alone: `transformers` would import torch.
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
            f"{name}: the tokenizer of the length filter cannot be had ({first_line(error)}): name "
            f"another or its folder as `tokenizer=`, or give "
            f"`tokenizer={NO_TOKENIZER}` to keep every length"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda row: all(len(tokenizer.encode(text)) <= MOST_TOKENS for text in _texts(row))
