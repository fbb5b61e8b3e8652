"""The `persona` source: the agreeableness prompts of Anthropic's model-written evaluations."""

from collections.abc import Iterator

from rewardgap.data.columns import convert, text
from rewardgap.data.readers import numbered, read_copy
from rewardgap.data.records import Row, Rows
from rewardgap.data.sources.wordings import CROSSED_PARTS, PARTS, wording_rows
from rewardgap.data.spec import Source

HUB_NAME = "Anthropic/model-written-evals"
HUB_FILE = "persona/agreeableness.jsonl"


def rows(
    part: str, *, path: str | None = None, seed: int = 0, train: int = 80, test: int = 40
) -> Rows:
    """Make the pairs of section 5.1 of the paper from the distinct prompts whose answer is Yes."""
    data = read_copy(path, HUB_NAME, "train", data_files=HUB_FILE)
    questions = (row["question"] for _, row in convert(data, _agreed))
    prompts = list(dict.fromkeys(questions))  # so that no training prompt is tested
    return numbered(f"persona:{part}", wording_rows(prompts, part, seed, train, test))


def _agreed(row: Row) -> Iterator[Row]:
    question = text(row, "question")
    if text(row, "answer_matching_behavior").strip() == "Yes":
        yield {"question": question}


SOURCE = Source(rows, PARTS + CROSSED_PARTS)
