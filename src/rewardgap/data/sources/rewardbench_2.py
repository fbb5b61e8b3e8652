"""The `rewardbench-2` source: RewardBench 2, correct responses against wrong ones."""

from rewardgap.data.columns import distinct_ids, text, texts
from rewardgap.data.readers import read_copy
from rewardgap.data.records import Rows
from rewardgap.data.spec import Source

HUB_NAME = "allenai/reward-bench-2"


def rows(part: str, *, path: str | None = None) -> Rows:
    """Read all prompts; those whose `subset` is "Ties" have several correct responses.

    Args:
        part: "test".
        path: A local copy with the columns of the hub's data set.

    Raises:
        UserError: The data cannot be read, or a row is broken.
    """
    return distinct_ids(_checked(read_copy(path, HUB_NAME, part)))


def _checked(data: Rows) -> Rows:
    for location, row in data:
        text(row, "subset", location)
        chosen, rejected = (texts(row, key, location) for key in ("chosen", "rejected"))
        yield location, {**row, "chosen": chosen, "rejected": rejected}


SOURCE = Source(rows, ("test",))
