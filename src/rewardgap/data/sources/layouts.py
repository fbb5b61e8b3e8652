"""Your own rows: two responses and a label of the better one, or several responses with scores."""

from collections.abc import Callable, Iterator, Mapping

from rewardgap.data.columns import convert, numbers, scalar_cells, texts
from rewardgap.data.layouts.judged import winner_first
from rewardgap.data.layouts.layout import Contests, Levels, all_pairs, levels
from rewardgap.data.readers import read_given
from rewardgap.data.records import Row, Rows
from rewardgap.data.spec import Source
from rewardgap.errors import UserError


def winners_rows(part: str, *, path: str | None = None) -> Rows:
    """Read pairs in one of two layouts; rows without a winner are left out and their number logged.

    The column `winner` holds A, B, model_a, model_b, in any letter case, or a tie. The others are
    `prompt`, `response_a` and `response_b`, or whole conversations `conversation_a` and
    `conversation_b` as LMArena publishes them.
    """
    data = read_given(path, f"winners:{part}")
    return convert(data, winner_first, f"{path}: rows left out without a winner")


def best_worst(ranked: Levels) -> Contests:
    """Compare one of the best responses with one of the worst: of equals, the first."""
    return [(ranked[0][:1], ranked[-1][:1])]


CONTESTS: Mapping[str, Callable[[Levels], Contests]] = {
    "best-worst": best_worst,
    "all-pairs": all_pairs,
}


def scored_rows(part: str, *, path: str | None = None) -> Rows:
    """Read prompts whose responses have scores; rows of equal scores are left out and logged.

    The columns are `prompt`, `responses` (a list of strings) and `scores` (a list of numbers). The
    second contest of a row with the id "x" has the id "x/2".
    """

    def contests(row: Row) -> Iterator[Row]:
        ranked = _levels(row)
        cells = {**scalar_cells(row), "prompt": row.get("prompt")}
        pairs = CONTESTS[part](ranked) if len(ranked) > 1 else []
        for number, (chosen, rejected) in enumerate(pairs, start=1):
            if number > 1 and "id" in cells:
                cells["id"] = f"{row['id']}/{number}"
            yield {**cells, "chosen": chosen, "rejected": rejected}

    data = read_given(path, f"scored:{part}")
    return convert(data, contests, f"{path}: rows left out whose scores are all equal")


def _levels(row: Row) -> Levels:
    responses, scores = texts(row, "responses"), numbers(row, "scores")
    if len(responses) != len(scores):
        raise UserError(
            f"{len(responses)} `responses` and {len(scores)} `scores`: give every response a score"
        )
    return levels(list(zip(responses, scores, strict=True)))


SCORED = Source(scored_rows, tuple(CONTESTS))
WINNERS = Source(winners_rows, ("rows",))
