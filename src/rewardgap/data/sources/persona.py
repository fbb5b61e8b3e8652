"""The `persona` source: the agreeableness prompts of Anthropic's model-written evaluations."""

from rewardgap.data.columns import text
from rewardgap.data.readers import numbered, read_copy
from rewardgap.data.records import Rows
from rewardgap.data.sources import wordings as agreeing
from rewardgap.data.spec import Source

HUB_NAME = "Anthropic/model-written-evals"
HUB_FILE = "persona/agreeableness.jsonl"


def rows(
    part: str, *, path: str | None = None, seed: int = 0, train: int = 80, test: int = 40
) -> Rows:
    """Make the pairs of section 5.1 of the paper from the prompts whose answer is Yes.

    Args:
        part: One of `agreeing.PARTS` or `agreeing.CROSSED_PARTS`.
        path: A local copy of the data; else they come from the hub.
        seed: Decides the prompts of each split and the responses.
        train: Number of training prompts.
        test: Number of test prompts.

    Raises:
        UserError: The data cannot be had, lacks a key, or has too few prompts.
    """
    data = read_copy(path, HUB_NAME, "train", data_files=HUB_FILE)
    return numbered(f"persona:{part}", agreeing.rows(_prompts(data), part, seed, train, test))


def _prompts(data: Rows) -> list[str]:
    """Keep the questions to be answered Yes, each once, so that no training prompt is tested."""
    questions = [
        text(row, "question", where)
        for where, row in data
        if text(row, "answer_matching_behavior", where).strip() == "Yes"
    ]
    return list(dict.fromkeys(questions))


SOURCE = Source(rows, agreeing.PARTS + agreeing.CROSSED_PARTS)
