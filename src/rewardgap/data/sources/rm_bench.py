"""The `rm-bench` source: RM-Bench, every response in three styles on both sides."""

from rewardgap.data.columns import distinct_ids, text, texts, wrong_cell
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source

HUB_NAME = "THU-KEG/RM-Bench"
SPLIT = "train"
STYLES = ("concise", "detailed", "detailed with markdown")
DOMAINS = {"total": "", "chat": "chat", "code": "code", "math": "math", "safety": "safety"}


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read the prompts of one domain or of all, each with its responses in the order of `STYLES`.

    Args:
        part: "total" or a domain; "safety" is what should be refused and what should be answered.
        path: A local copy in the columns of the hub's data set.

    Raises:
        UserError: The data cannot be had, or a row is broken.
    """
    return distinct_ids(_of_domain(read_copy(path, HUB_NAME, SPLIT), DOMAINS[part]))


def _of_domain(data: Rows, prefix: str) -> Rows:
    for where, row in data:
        domain = text(row, "domain", where)
        if domain.startswith(prefix):
            styles = {key: _styles(row, key, where) for key in ("chosen", "rejected")}
            # Records of two domains have the same number.
            number = row.get("id")
            name = None if number is None else f"{domain}-{number}"
            yield where, {**row, **styles, "id": name}


def _styles(row: Row, key: str, where: str) -> list[str]:
    responses = texts(row, key, where)
    if len(responses) != len(STYLES):
        raise wrong_cell(row, key, f"a list of {len(STYLES)} strings, one a style", where)
    return responses


SOURCE = Source(rows, tuple(DOMAINS))
