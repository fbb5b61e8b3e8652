"""The `ultrafeedback` source: general chat, with preferences of a judge model."""

from collections.abc import Callable

from rewardgap.data.columns import number, text, wrong_cell
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, draw
from rewardgap.data.readers import read_copy, read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source

HUB_NAME = "HuggingFaceH4/ultrafeedback_binarized"
SPLITS = {"train": "train_prefs", "test": "test_prefs"}
PAIRS = "pairs"
TRANSLATION = ("translate", "translation")


def rows(
    part: str,
    *,
    path: str | None = None,
    tokenizer: str = REFERENCE_TOKENIZER,
    seed: int = 0,
    train: int = 2000,
    test: int = 200,
) -> Rows:
    """Draw pairs of unequal scores whose prompts ask for no translation (sections 5.3 and 5.4).

    Args:
        part: "train" or "test"; or "pairs" for all rows of a file whose prompt and responses are
            plain texts, cleaned and in their order.
        path: A local copy with the columns of the hub's data set; for "pairs", such a file.
        tokenizer: The reference tokenizer of the length filter, or "none".
        seed: Determines which pairs are drawn.
        train: Number of training pairs.
        test: Number of test pairs.

    Raises:
        UserError: The data or the tokenizer cannot be loaded, a row is broken, or too few pairs
            remain.
    """
    if part == PAIRS:
        return _clean(read_given(path, f"ultrafeedback:{PAIRS}"), text)
    size = {"train": train, "test": test}[part]
    return draw(
        _clean(read_copy(path, HUB_NAME, SPLITS[part]), _answer), size, seed, tokenizer, part
    )


def _clean(data: Rows, answer: Callable[[Row, str, str], str]) -> Rows:
    for location, row in data:
        prompt = text(row, "prompt", location)
        scores = {key: number(row, key, location) for key in ("score_chosen", "score_rejected")}
        asks_translation = any(word in prompt.lower() for word in TRANSLATION)
        if scores["score_chosen"] > scores["score_rejected"] and not asks_translation:
            chosen, rejected = (answer(row, key, location) for key in ("chosen", "rejected"))
            yield location, {"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}


def _answer(row: Row, key: str, location: str) -> str:
    """Return the second of the two messages of a conversation."""
    match row.get(key):
        case [{"role": "user"}, {"role": "assistant", "content": str(content)}]:
            return content
    raise wrong_cell(row, key, "a user's and an assistant's message {role, content}", location)


SOURCE = Source(rows, (*SPLITS, PAIRS))
