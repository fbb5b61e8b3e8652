"""The `rewardmath` source: a right and a wrong solution of a mathematical problem."""

from collections.abc import Iterator
from itertools import islice

from rewardgap.data.columns import convert, text, texts
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, fitting
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

OPPONENTS = {"A": "B", "B": "A"}


def rows(
    part: str,
    *,
    path: str | None = None,
    tokenizer: str = REFERENCE_TOKENIZER,
    seed: int = 0,
    train: int = 1000,
    test: int = 200,
    disjoint: int = 0,
) -> Rows:
    """Draw training and test pairs from the same pool, as the paper does (sections 5.3 and 5.4).

    A problem has one right and nine wrong solutions, so nearly every test pair shares its prompt
    and its chosen solution with a training pair. With `disjoint=1`, training pairs have no prompt
    of a test pair. The test pairs depend neither on `train` nor on `disjoint`.
    """
    data = convert(read_copy(path, "RewardMATH/RewardMATH_pairwise", "test"), _pair)
    pairs = list(fitting(data, seed, tokenizer))
    first_test = max(len(pairs) - test, 0)
    tested = {row["prompt"] for _, row in pairs[first_test:]} if disjoint else set()
    pool = (pair for pair in pairs[:first_test] if pair[1]["prompt"] not in tested)
    parts = {"train": list(islice(pool, train)), "test": pairs[first_test:]}
    if len(parts["train"]) < train or len(parts["test"]) < test:
        raise UserError(
            f"{train} training and {test} test pairs were asked for, but only {len(pairs)} pass "
            f"the filters, {len(parts['train'])} of them to train on: lower `train` or `test`"
        )
    yield from parts[part]


def _pair(row: Row) -> Iterator[Row]:
    chosen = text(row, "chosen_position")
    if chosen not in OPPONENTS:
        raise UserError(f"`chosen_position` must be A or B, not {chosen!r}: correct it")
    yield {
        "prompt": text(row, "problem"),
        "chosen": " ".join(texts(row, f"eval_solution_{chosen}")),
        "rejected": " ".join(texts(row, f"eval_solution_{OPPONENTS[chosen]}")),
    }


SOURCE = Source(rows, ("train", "test"))
