"""Which words turned the verdicts that a shift flips, counted over all flips and kept on disk."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rewardgap.data.records import Record
from rewardgap.errors import reported
from rewardgap.io.files import read_json, write_text
from rewardgap.io.progress import progress
from rewardgap.perturbing.flips import Flips
from rewardgap.perturbing.words import Move, read_moves
from rewardgap.scoring.rater import Rater
from rewardgap.scoring.scorer import Scorer

MOST_READ = 100
"""Flips of a shift whose words are read, those whose margin changes most."""
MOST_KEPT = 3
"""Places of a flip that are kept."""


@dataclass(frozen=True)
class Cause:
    """What moved the margin of a flipped pair.

    Attributes:
        change: The margin after less the margin before, as the rewards of all words give it.
        by_changed_words: What those words add to it that differ.
        moves: The places that moved it most in the direction of the flip: words that differ or,
            where none does or none moves it so, words that stayed.
    """

    change: float
    by_changed_words: float
    moves: tuple[Move, ...]

    @classmethod
    def of(cls, moves: Sequence[Move]) -> "Cause":
        """Return the cause of a flip from what every place of the pair adds."""
        change = sum(move.margin for move in moves)
        changed = [move for move in moves if move.is_change]
        sign = 1.0 if change > 0 else -1.0
        places = [[move for move in group if sign * move.margin > 0] for group in (changed, moves)]
        strongest = sorted(places[0] or places[1], key=lambda move: -sign * move.margin)
        return cls(change, sum(move.margin for move in changed), tuple(strongest[:MOST_KEPT]))


@dataclass(frozen=True)
class Causes:
    """The causes of a shift's flips by record; None for a model without rewards of words."""

    by_record: Mapping[str, Cause] | None

    def __len__(self) -> int:
        return len(self.by_record or ())

    @property
    def share_of_changed_words(self) -> float | None:
        """What the words that differ add to the changes of all margins, as a share of them."""
        causes = (self.by_record or {}).values()
        total = sum(abs(cause.change) for cause in causes)
        added = (c.by_changed_words if c.change > 0 else -c.by_changed_words for c in causes)
        return sum(added) / total if total else None

    def count(self) -> list[tuple[str, str, int]]:
        """Return the words that moved a flip's margin most, with their number of flips."""
        counts = Counter(
            _bare(cause.moves[0]) for cause in (self.by_record or {}).values() if cause.moves
        )
        return [(*texts, count) for texts, count in counts.most_common()]


def _bare(move: Move) -> tuple[str, str]:
    """Return the words of a place without the space around them, unless it is what differs."""
    bare = move.before.strip(), move.after.strip()
    is_space = bare[0] == bare[1] and move.is_change
    return (move.before, move.after) if is_space else bare


def find_causes(
    path: Path,
    flips: Flips,
    before: Mapping[str, Record],
    after: Mapping[str, Record],
    open_model: Callable[[], Rater],
) -> Causes:
    """Return the causes of the largest flips; those in the file `path` are not computed again.

    Args:
        path: Where they are kept.
        flips: The flips of a shift.
        before: The records by id.
        after: The records in other words by id.
        open_model: What loads the model.

    Raises:
        UserError: The file is damaged.
    """
    if not path.exists():
        causes = _read_causes(flips, before, after, open_model) if flips.largest else {}
        rows = causes and {name: asdict(cause) for name, cause in causes.items()}
        write_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    rows = read_json(path)
    with reported((TypeError, KeyError, AttributeError), f"{path} is damaged; remove it: "):
        return Causes(rows if rows is None else {name: _parse(row) for name, row in rows.items()})


def _parse(row: Mapping[str, Any]) -> Cause:
    moves = tuple(Move(**move) for move in row["moves"])
    return Cause(row["change"], row["by_changed_words"], moves)


def _read_causes(
    flips: Flips,
    before: Mapping[str, Record],
    after: Mapping[str, Record],
    open_model: Callable[[], Rater],
) -> dict[str, Cause] | None:
    rater = open_model()
    if not isinstance(rater, Scorer) or rater.model.rates_beginnings_apart:
        return None
    causes = {}
    for flip in progress(flips.largest[:MOST_READ], "words of flips"):
        chosen, rejected = flip.pair
        pair = (
            replace(
                records[flip.id],
                chosen=(records[flip.id].chosen[chosen],),
                rejected=(records[flip.id].rejected[rejected],),
            )
            for records in (before, after)
        )
        causes[flip.id] = Cause.of(read_moves(rater, *pair))
    if rater.reference is not None:
        rater.reference.release()
    return causes
