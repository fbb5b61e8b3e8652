"""Which words turned the verdicts that a shift flips, counted over all flips and kept on disk."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardgap.errors import reported
from rewardgap.io.files import read_json, write_text
from rewardgap.perturbing.flips import Flips
from rewardgap.perturbing.words import Move, Word, compare_words

MOST_KEPT = 3
"""Places of a flip that are kept."""

WordsById = Mapping[str, Sequence[Sequence[Word]]]
"""By record, the words of each of its responses."""
ReadWords = Callable[[Collection[str]], tuple[WordsById, WordsById] | None]
"""Returns words of the records of some ids in the original wording and in another one."""


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
            bare_words(cause.moves[0]) for cause in (self.by_record or {}).values() if cause.moves
        )
        return [(*texts, count) for texts, count in counts.most_common()]


def bare_words(move: Move) -> tuple[str, str]:
    """Return the words of a place without the space around them, unless it is what differs."""
    bare = move.before.strip(), move.after.strip()
    is_space = bare[0] == bare[1] and move.is_change
    return (move.before, move.after) if is_space else bare


def find_causes(path: Path, flips: Flips, read: ReadWords) -> Causes:
    """Return the causes of a shift's flips; those in the file `path` are not computed again.

    Args:
        path: Where they are kept.
        flips: The flips.
        read: Returns the words of the records of some ids in both wordings, or None.

    Raises:
        UserError: The file is damaged.
    """
    if not path.exists():
        causes = _read_causes(flips, read) if flips.largest else {}
        written = None if causes is None else {name: asdict(causes[name]) for name in causes}
        write_text(path, json.dumps(written, ensure_ascii=False, indent=1) + "\n")
    rows = read_json(path)
    with reported((TypeError, KeyError, AttributeError), f"{path} is damaged; remove it: "):
        return Causes(rows if rows is None else {name: _parse(row) for name, row in rows.items()})


def _parse(row: Mapping[str, Any]) -> Cause:
    moves = tuple(Move(**move) for move in row["moves"])
    return Cause(row["change"], row["by_changed_words"], moves)


def _read_causes(flips: Flips, read: ReadWords) -> dict[str, Cause] | None:
    words = read({flip.id for flip in flips.largest})
    if words is None:
        return None
    before, after = words
    return {
        flip.id: Cause.of(
            [
                move
                for side, response in zip(("chosen", "rejected"), flip.pair, strict=True)
                for move in compare_words(side, before[flip.id][response], after[flip.id][response])
            ]
        )
        for flip in flips.largest
    }
