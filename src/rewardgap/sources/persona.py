"""The `persona` source: the agreeableness prompts of Anthropic's model-written evaluations."""

from collections.abc import Iterator

from rewardgap.errors import UserError
from rewardgap.records import Row
from rewardgap.sources import agreeing
from rewardgap.sources.files import Rows, read_hub, read_jsonl
from rewardgap.sources.spec import Source

HUB_NAME = "Anthropic/model-written-evals"
HUB_FILE = "persona/agreeableness.jsonl"


def rows(
    part: str, *, path: str | None = None, seed: int = 0, train: int = 80, test: int = 40
) -> Iterator[Row]:
    """Make the pairs of section 5.1 of the paper from the prompts whose answer is Yes.

    Args:
        part: One of `agreeing.PARTS`.
        path: A local copy of the data, one JSON object a line; else it comes from the hub.
        seed: Decides the prompts of each split and the responses.
        train: Number of training prompts.
        test: Number of test prompts.

    Raises:
        UserError: The data cannot be had, lacks a key, or has too few prompts.
    """
    data = read_hub(HUB_NAME, "train", data_files=HUB_FILE) if path is None else read_jsonl(path)
    return agreeing.rows(_prompts(data), part, seed, train, test)


def _prompts(data: Rows) -> list[str]:
    """Keep the questions to be answered Yes, each once, so that no training prompt is tested."""
    questions = []
    for where, row in data:
        for key in ("question", "answer_matching_behavior"):
            if not isinstance(row.get(key), str):
                raise UserError(f"{where}: `{key}` must be a string: is this a persona file?")
        if row["answer_matching_behavior"].strip() == "Yes":
            questions.append(row["question"])
    return list(dict.fromkeys(questions))


SOURCE = Source(rows, agreeing.PARTS)
