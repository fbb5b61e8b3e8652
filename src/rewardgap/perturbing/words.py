"""Which words moved the margin of a pair that flipped, from the rewards of its tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate
from typing import NamedTuple

from rewardgap.data.records import Record
from rewardgap.explaining.explanation import ResponseReward
from rewardgap.explaining.tokens import reward_tokens
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


def read_moves(scorer: Scorer, before: Record, after: Record) -> list[Move]:
    """Return what every place of a pair's responses adds to the change of its margin.

    They sum to the margin after less the margin before.

    Args:
        scorer: The model.
        before: A pair in the original words.
        after: The pair in other words.
    """
    rewards = _read(scorer, before, after)
    sides = ("chosen", 1.0), ("rejected", -1.0)
    return [
        replace(move, side=side, margin=sign * move.margin)
        for (side, sign), *wordings in zip(sides, rewards[:2], rewards[2:], strict=True)
        for move in _compare(*map(words, wordings))
    ]


def _read(scorer: Scorer, before: Record, after: Record) -> Sequence[ResponseReward]:
    """Return the rewards of a pair's two responses and of the other two, token by token.

    A prompt that both wordings have is computed once, unless truncation would cut it otherwise.
    """
    if before.prompt == after.prompt:
        responses = before.responses + after.responses
        together = reward_tokens(scorer, replace(before, chosen=responses, rejected=()))
        if not together.truncated:
            return together.responses
    first, second = (reward_tokens(scorer, record) for record in (before, after))
    return first.responses + second.responses


def words(response: ResponseReward) -> list[Word]:
    """Return the words of a response; a token that has several stays whole."""
    starts = {match.start() for match in WORD.finditer("".join(response.tokens))}
    ends = accumulate(map(len, response.tokens), initial=0)
    parts: list[Word] = []
    for token, step, start in zip(response.tokens, response.steps, ends, strict=False):
        if parts and not (start in starts and parts[-1].text):
            parts[-1] = Word(parts[-1].text + token, parts[-1].reward + step)
        else:
            parts.append(Word(token, step))
    return parts


def _compare(before: Sequence[Word], after: Sequence[Word]) -> Iterator[Move]:
    """Yield what every place adds to the reward: words that stayed, and words for others."""
    texts, others = ([word.text for word in side] for side in (before, after))
    codes = SequenceMatcher(None, texts, others, autojunk=False).get_opcodes()
    for _, start, end, first, last in codes:
        count = end - start
        pairs = [(slice(start, end), slice(first, last))]
        if count == last - first:  # word for word
            pairs = [
                (slice(start + k, start + k + 1), slice(first + k, first + k + 1))
                for k in range(count)
            ]
        for old, new in pairs:
            yield Move(
                side="",
                before="".join(texts[old]),
                after="".join(others[new]),
                margin=sum(word.reward for word in after[new])
                - sum(word.reward for word in before[old]),
                left="".join(others[max(0, new.start - AROUND) : new.start]),
                right="".join(others[new.stop : new.stop + AROUND]),
            )
