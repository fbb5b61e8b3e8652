"""The `rewardmath` source: solutions of mathematical problems, one right and one wrong."""

from itertools import islice

from rewardgap.data.columns import text, texts
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, fitting
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError

HUB_NAME = "RewardMATH/RewardMATH_pairwise"
SPLIT = "test"
OTHER = {"A": "B", "B": "A"}


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
    """Draw training and test pairs out of the same pairs (sections 5.3 and 5.4).

    A problem comes with nine wrong solutions and one right one, so nearly every test pair shares
    its prompt and its chosen solution with a training pair: that is how the paper draws. The test
    pairs depend neither on `train` nor on `disjoint`.

    Args:
        part: "train" or "test".
        path: A local copy in the columns of the hub's data set.
        tokenizer: The reference tokenizer of the length filter, or "none".
        seed: Decides which pairs are drawn.
        train: Number of training pairs.
        test: Number of test pairs.
        disjoint: 1 keeps the prompts of the test pairs out of the training pairs.

    Raises:
        UserError: The data or the tokenizer cannot be had, a row is broken, or pairs are too few.
    """
    data = read_copy(path, HUB_NAME, SPLIT)
    pairs = list(fitting(_pairs(data), seed, tokenizer))
    first_test = max(len(pairs) - test, 0)
    tested = {row["prompt"] for _, row in pairs[first_test:]} if disjoint else set()
    others = (pair for pair in pairs[:first_test] if pair[1]["prompt"] not in tested)
    parts = {"train": list(islice(others, train)), "test": pairs[first_test:]}
    if len(parts["train"]) < train or len(parts["test"]) < test:
        raise UserError(
            f"{train} training and {test} test pairs were asked for, and {len(pairs)} are left "
            f"after the filters, {len(parts['train'])} of them to train on: lower `train` or `test`"
        )
    yield from parts[part]


def _pairs(data: Rows) -> Rows:
    for where, row in data:
        chosen = text(row, "chosen_position", where)
        if chosen not in OTHER:
            raise UserError(
                f"{where}: `chosen_position` must be A or B, not {chosen!r}: correct it"
            )
        yield (
            where,
            {
                "prompt": text(row, "problem", where),
                "chosen": " ".join(texts(row, f"eval_solution_{chosen}", where)),
                "rejected": " ".join(texts(row, f"eval_solution_{OTHER[chosen]}", where)),
            },
        )


SOURCE = Source(rows, ("train", "test"))
