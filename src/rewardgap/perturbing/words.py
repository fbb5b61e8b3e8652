"""Which words moved the margin of a pair that flipped, from the rewards of its tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from typing import NamedTuple

from rewardgap.data.records import Record
from rewardgap.explaining.tokens import leaf_texts
from rewardgap.scoring.rater import Prefixes
from rewardgap.scoring.scorer import Scorer

WORD = re.compile(r"\s*(?:\w[\w'’-]*|[^\w\s])")
AROUND = 6
"""Words that are shown before and after a place."""


class Word(NamedTuple):
    """A word with the space before it, and what its tokens add to the reward of its response."""

    text: str
    reward: float


@dataclass(frozen=True)
class Move:
    """What one place of a response adds to the change of a pair's margin.

    Attributes:
        side: The response, "chosen" or "rejected".
        before: Its words there in the original wording; the same as `after` if they stayed.
        after: Its words there in the other wording.
        margin: By how much they move the margin.
        left: The words before that place, in the other wording.
        right: The words after it.
    """

    side: str
    before: str
    after: str
    margin: float
    left: str
    right: str

    @property
    def is_change(self) -> bool:
        """Whether the words differ; else they are read after other words."""
        return self.before != self.after


def response_words(scorer: Scorer, record: Record, prefixes: Prefixes) -> list[list[Word]]:
    """Return the words of every response of a record, of whose beginnings the rewards are given."""
    (tree,) = scorer.model.encode([record], scorer.max_length)
    return [
        join_tokens(leaf_texts(scorer.model.template, tree, leaf), rewards.tolist())
        for leaf, rewards in zip(tree.leaves, prefixes, strict=True)
    ]


def join_tokens(tokens: Sequence[str], prefixes: Sequence[float]) -> list[Word]:
    """Join tokens to words; a token that has several stays whole.

    Args:
        tokens: The text of each token.
        prefixes: The reward of the response up to and with each token.
    """
    starts = {match.start() for match in WORD.finditer("".join(tokens))}
    ends = accumulate(map(len, tokens), initial=0)
    words: list[Word] = []
    for token, (before, after), start in zip(
        tokens, pairwise((0.0, *prefixes)), ends, strict=False
    ):
        if words and not (start in starts and words[-1].text):
            words[-1] = Word(words[-1].text + token, words[-1].reward + after - before)
        else:
            words.append(Word(token, after - before))
    return words


def compare_words(side: str, before: Sequence[Word], after: Sequence[Word]) -> list[Move]:
    """Return what every place of a response adds to a margin; all together are its change.

    Args:
        side: The response, "chosen" or "rejected".
        before: Its words in the original wording.
        after: Its words in the other one.
    """
    sign = 1.0 if side == "chosen" else -1.0
    texts, others = ([word.text for word in words] for words in (before, after))
    return [
        Move(
            side=side,
            before="".join(texts[old]),
            after="".join(others[new]),
            margin=sign * (_reward(after[new]) - _reward(before[old])),
            left="".join(others[max(0, new.start - AROUND) : new.start]),
            right="".join(others[new.stop : new.stop + AROUND]),
        )
        for old, new in _places(texts, others)
    ]


def _places(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[slice, slice]]:
    """Yield which words stand for which: one for one, where as many stand for as many."""
    codes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for _, start, end, first, last in codes:
        if end - start == last - first:
            for k in range(end - start):
                yield slice(start + k, start + k + 1), slice(first + k, first + k + 1)
        else:
            yield slice(start, end), slice(first, last)


def _reward(words: Sequence[Word]) -> float:
    return sum(word.reward for word in words)
