"""Records whose verdict a shift has flipped, with their texts in both words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rewardgap.data.records import Record, as_text
from rewardgap.evaluation.scores import ScoreRow

Words = tuple[str, str]
"""A text in the original words and in the others."""


@dataclass(frozen=True)
class Flip:
    """A pair that is ranked in another order in other words.

    Attributes:
        id: The record's id.
        pair: The chosen and the rejected one among the record's responses.
        prompt: What is asked.
        chosen: The chosen response.
        rejected: The rejected response.
        margins: The margin before and after.
    """

    id: str
    pair: tuple[int, int]
    prompt: Words
    chosen: Words
    rejected: Words
    margins: tuple[float, float]

    @property
    def fall(self) -> float:
        """By how much the margin falls; negative where it rises."""
        return self.margins[0] - self.margins[1]

    @property
    def texts(self) -> dict[str, Words]:
        """The texts by what they are."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass(frozen=True)
class Flips:
    """The flips of a shift, one of a record, those whose margin changes most first."""

    to_wrong: Sequence[Flip]
    to_right: Sequence[Flip]

    @property
    def largest(self) -> list[Flip]:
        """All, those whose margin changes most first."""
        return sorted((*self.to_wrong, *self.to_right), key=lambda flip: -abs(flip.fall))


def find_flips(
    rows: Sequence[tuple[ScoreRow, ScoreRow]],
    before: Mapping[str, Record],
    after: Mapping[str, Record],
) -> Flips:
    """Return of every record the pair whose order differs and whose margin changes most, if any.

    Args:
        rows: The rows of every record in the original words and in the others.
        before: The records by id.
        after: The records in other words by id.
    """
    flips = [
        max(of_record, key=lambda flip: abs(flip.fall))
        for row, shifted in rows
        for of_record in [list(_flipped(row, shifted, before[row.id], after[row.id]))]
        if of_record
    ]
    flips.sort(key=lambda flip: -abs(flip.fall))
    return Flips(
        to_wrong=[flip for flip in flips if flip.fall > 0],
        to_right=[flip for flip in flips if flip.fall < 0],
    )


def _flipped(row: ScoreRow, shifted: ScoreRow, before: Record, after: Record) -> Iterator[Flip]:
    """Yield the pairs of a record whose order differs."""
    sides = range(len(row.scores_chosen)), range(len(row.scores_rejected))
    for chosen, rejected in product(*sides):
        old, new = (
            (either.scores_chosen[chosen], either.scores_rejected[rejected])
            for either in (row, shifted)
        )
        if _order(*old) != _order(*new):
            yield Flip(
                id=row.id,
                pair=(chosen, len(row.scores_chosen) + rejected),
                prompt=(as_text(before.prompt), as_text(after.prompt)),
                chosen=(as_text(before.chosen[chosen]), as_text(after.chosen[chosen])),
                rejected=(as_text(before.rejected[rejected]), as_text(after.rejected[rejected])),
                margins=(old[0] - old[1], new[0] - new[1]),
            )


def _order(chosen: float, rejected: float) -> int:
    return (chosen > rejected) - (chosen < rejected)
