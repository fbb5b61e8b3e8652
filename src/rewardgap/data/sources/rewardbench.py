"""The `rewardbench-math` and `rewardbench-code` sources: test sets of RewardBench."""

from collections.abc import Callable

from rewardgap.data.columns import text
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, draw
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Rows
from rewardgap.data.spec import Source

HUB_NAME = "allenai/reward-bench"
SPLIT = "filtered"
COLUMNS = ("prompt", "chosen", "rejected", "subset")


def _source(includes: Callable[[str], bool]) -> Source:
    """Return the source of a random sample of the subsets whose names it includes."""

    def rows(
        part: str,
        *,
        path: str | None = None,
        tokenizer: str = REFERENCE_TOKENIZER,
        seed: int = 0,
        test: int = 200,
    ) -> Rows:
        data = read_copy(path, HUB_NAME, SPLIT)
        return draw(_pairs(data, includes), test, seed, tokenizer, part)

    return Source(rows, ("test",))


def _pairs(data: Rows, includes: Callable[[str], bool]) -> Rows:
    for location, row in data:
        if includes(text(row, "subset", location)):
            yield location, {key: text(row, key, location) for key in COLUMNS}


MATH = _source(lambda subset: subset == "math-prm")
CODE = _source(lambda subset: subset.startswith("hep"))
