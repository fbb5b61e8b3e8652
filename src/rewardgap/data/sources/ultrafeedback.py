"""The `ultrafeedback` source: general chat, with preferences of a judge model."""

from collections.abc import Callable, Iterator

from rewardgap.data.columns import convert, number, text, wrong_cell
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

    The part "pairs" is all rows of the file `path`, whose prompt and responses are plain texts,
    cleaned and in their order.
    """
    if part == PAIRS:
        return _clean(read_given(path, f"ultrafeedback:{PAIRS}"), text)
    size = {"train": train, "test": test}[part]
    pairs = _clean(read_copy(path, HUB_NAME, SPLITS[part]), _answer)
    return draw(pairs, size, seed, tokenizer, part)


def _clean(data: Rows, answer: Callable[[Row, str], str]) -> Rows:
    def pair(row: Row) -> Iterator[Row]:
        prompt = text(row, "prompt")
        scores = {key: number(row, key) for key in ("score_chosen", "score_rejected")}
        asks_translation = any(word in prompt.lower() for word in TRANSLATION)
        if scores["score_chosen"] > scores["score_rejected"] and not asks_translation:
            responses = {key: answer(row, key) for key in ("chosen", "rejected")}
            yield {"prompt": prompt, **responses, **scores}

    return convert(data, pair)


def _answer(row: Row, key: str) -> str:
    """Return the second of the two messages of a conversation."""
    match row.get(key):
        case [{"role": "user"}, {"role": "assistant", "content": str(content)}]:
            return content
    raise wrong_cell(row, key, "a user's and an assistant's message {role, content}")


SOURCE = Source(rows, (*SPLITS, PAIRS))
