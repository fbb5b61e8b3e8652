"""The `persona` source: the agreeableness prompts of Anthropic's model-written evaluations."""

from rewardgap.data.columns import text
from rewardgap.data.readers import numbered, read_copy
from rewardgap.data.records import Rows
from rewardgap.data.sources.wordings import CROSSED_PARTS, PARTS, wording_rows
from rewardgap.data.spec import Source

HUB_NAME = "Anthropic/model-written-evals"
HUB_FILE = "persona/agreeableness.jsonl"


def rows(
    part: str, *, path: str | None = None, seed: int = 0, train: int = 80, test: int = 40
) -> Rows:
    """Make the pairs of section 5.1 of the paper from the prompts whose answer is Yes.

    Args:
        part: One of `PARTS` or `CROSSED_PARTS`.
        path: A local copy of the data; by default the hub's.
        seed: Determines the prompts of each split and the responses.
        train: Number of training prompts.
        test: Number of test prompts.

    Raises:
        UserError: The data cannot be read, lack a key, or have too few prompts.
    """
    data = read_copy(path, HUB_NAME, "train", data_files=HUB_FILE)
    return numbered(f"persona:{part}", wording_rows(_prompts(data), part, seed, train, test))


def _prompts(data: Rows) -> list[str]:
    """Return the distinct questions whose answer is Yes, so that no training prompt is tested."""
    questions = [
        text(row, "question", location)
        for location, row in data
        if text(row, "answer_matching_behavior", location).strip() == "Yes"
    ]
    return list(dict.fromkeys(questions))


SOURCE = Source(rows, PARTS + CROSSED_PARTS)
