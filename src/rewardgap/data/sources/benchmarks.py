"""Published test sets: RewardBench, RewardBench 2 and RM-Bench."""

from collections.abc import Callable, Iterator

from rewardgap.data.columns import convert, distinct_ids, text, texts, wrong_cell
from rewardgap.data.length_filter import REFERENCE_TOKENIZER, draw
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source

STYLES = ("concise", "detailed", "detailed with markdown")
DOMAINS = {"total": "", "chat": "chat", "code": "code", "math": "math", "safety": "safety"}


def _rewardbench(includes: Callable[[str], bool]) -> Source:
    """Return the source of a random sample of RewardBench's subsets whose names it includes."""

    def pair(row: Row) -> Iterator[Row]:
        if includes(text(row, "subset")):
            yield {key: text(row, key) for key in ("prompt", "chosen", "rejected", "subset")}

    def rows(
        part: str,
        *,
        path: str | None = None,
        tokenizer: str = REFERENCE_TOKENIZER,
        seed: int = 0,
        test: int = 200,
    ) -> Rows:
        data = read_copy(path, "allenai/reward-bench", "filtered")
        return draw(convert(data, pair), test, seed, tokenizer, part)

    return Source(rows, ("test",))


def rewardbench_2_rows(part: str, *, path: str | None = None) -> Rows:
    """Read all prompts; those whose `subset` is "Ties" have several correct responses."""
    return distinct_ids(convert(read_copy(path, "allenai/reward-bench-2", part), _checked))


def _checked(row: Row) -> Iterator[Row]:
    text(row, "subset")
    yield {**row, **{key: texts(row, key) for key in ("chosen", "rejected")}}


def rm_bench_rows(part: str, *, path: str | None = None) -> Rows:
    """Read the prompts of all domains ("total") or of one, with responses in the order of `STYLES`.

    The domain "safety" has prompts to refuse and prompts to answer.
    """

    def styled(row: Row) -> Iterator[Row]:
        domain, number = text(row, "domain"), row.get("id")
        if domain.startswith(DOMAINS[part]):
            responses = {key: _styles(row, key) for key in ("chosen", "rejected")}
            # Numbers are unique only within a domain.
            yield {**row, **responses, "id": None if number is None else f"{domain}-{number}"}

    return distinct_ids(convert(read_copy(path, "THU-KEG/RM-Bench", "train"), styled))


def _styles(row: Row, key: str) -> list[str]:
    responses = texts(row, key)
    if len(responses) != len(STYLES):
        raise wrong_cell(row, key, f"a list of {len(STYLES)} strings, one per style")
    return responses


REWARDBENCH_MATH = _rewardbench(lambda subset: subset == "math-prm")
REWARDBENCH_CODE = _rewardbench(lambda subset: subset.startswith("hep"))
REWARDBENCH_2 = Source(rewardbench_2_rows, ("test",))
RM_BENCH = Source(rm_bench_rows, tuple(DOMAINS))
