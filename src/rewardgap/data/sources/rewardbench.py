"""The `rewardbench-math` and `rewardbench-code` sources: subsets of RewardBench as test sets."""

from collections.abc import Callable

from rewardgap.data.columns import text
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, draw
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Rows
from rewardgap.data.spec import Source

HUB_NAME = "allenai/reward-bench"
SPLIT = "filtered"
COLUMNS = ("prompt", "chosen", "rejected", "subset")


def _source(belongs: Callable[[str], bool]) -> Source:
    """Make the source of the subsets whose names belong to it; its rows are a random sample."""

    def rows(
        part: str,
        *,
        path: str | None = None,
        tokenizer: str = REFERENCE_TOKENIZER,
        seed: int = 0,
        test: int = 200,
    ) -> Rows:
        data = read_copy(path, HUB_NAME, SPLIT)
        return draw(_pairs(data, belongs), test, seed, tokenizer, part)

    return Source(rows, ("test",))


def _pairs(data: Rows, belongs: Callable[[str], bool]) -> Rows:
    for where, row in data:
        if belongs(text(row, "subset", where)):
            yield where, {key: text(row, key, where) for key in COLUMNS}


MATH = _source(lambda subset: subset == "math-prm")
CODE = _source(lambda subset: subset.startswith("hep"))
