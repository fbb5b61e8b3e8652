"""The `rm-bench` source: RM-Bench, chosen and rejected responses in three styles."""

from rewardgap.data.columns import distinct_ids, text, texts, wrong_cell
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source

HUB_NAME = "THU-KEG/RM-Bench"
SPLIT = "train"
STYLES = ("concise", "detailed", "detailed with markdown")
DOMAINS = {"total": "", "chat": "chat", "code": "code", "math": "math", "safety": "safety"}


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read the prompts of one domain or of all, with responses in the order of `STYLES`.

    Args:
        part: "total" or a domain; "safety" has prompts to refuse and prompts to answer.
        path: A local copy with the columns of the hub's data set.

    Raises:
        UserError: The data cannot be read, or a row is broken.
    """
    return distinct_ids(_of_domain(read_copy(path, HUB_NAME, SPLIT), DOMAINS[part]))


def _of_domain(data: Rows, prefix: str) -> Rows:
    for location, row in data:
        domain = text(row, "domain", location)
        if domain.startswith(prefix):
            styles = {key: _styles(row, key, location) for key in ("chosen", "rejected")}
            # Numbers are unique only within a domain.
            number = row.get("id")
            name = None if number is None else f"{domain}-{number}"
            yield location, {**row, **styles, "id": name}


def _styles(row: Row, key: str, location: str) -> list[str]:
    responses = texts(row, key, location)
    if len(responses) != len(STYLES):
        raise wrong_cell(row, key, f"a list of {len(STYLES)} strings, one per style", location)
    return responses


SOURCE = Source(rows, tuple(DOMAINS))
