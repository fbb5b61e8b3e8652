"""Shifts of the order of sentences and words, which keep no meaning: a reward should notice."""

import re
from bisect import bisect_left, bisect_right
from functools import lru_cache
from itertools import pairwise

from rewardgap.data.shifts.protected import free_spans
from rewardgap.data.shifts.shift import Passage, Shift, of_prose

BORDER = re.compile(r"(?<=[^\W\d_]{2}[.!?])[ \t]+(?=[^\W\d_a-z]|[\"“(])")
ABBREVIATION = re.compile(r"\b(?:Mrs?|Ms|Dr|Prof|St|vs|etc|Fig|No|approx|Inc|Jr)\.$")
LINE = re.compile(r".*\S.*")


@lru_cache(maxsize=64)
def _borders(text: str) -> tuple[int, ...]:
    """Return where sentences of a text begin, but for the first; none within what is protected."""
    return tuple(
        match.end()
        for start, stop in free_spans(text)
        for match in BORDER.finditer(text, start, stop)
        if not ABBREVIATION.search(text, max(0, match.start() - 8), match.start())
    )


def split_sentences(text: str, start: int, stop: int) -> list[str]:
    """Return the sentences in a part of a text, without the white space between them."""
    borders = _borders(text)
    inside = borders[bisect_right(borders, start) : bisect_left(borders, stop)]
    return [text[a:b].strip() for a, b in pairwise([start, *inside, stop])]


def _shuffle_sentences(passage: Passage) -> str:
    def shuffled(line: re.Match[str]) -> str:
        sentences = split_sentences(passage.text, *line.span())
        passage.draw.shuffle(sentences)
        return " ".join(sentences)

    return LINE.sub(shuffled, passage.text)


def _shuffle_words(passage: Passage) -> str:
    def shuffled(line: re.Match[str]) -> str:
        words = line.group().split(" ")
        passage.draw.shuffle(words)
        return " ".join(words)

    return LINE.sub(shuffled, passage.text)


SHIFTS = {
    "shuffle-sentences": Shift(
        "the sentences of every paragraph in random order",
        of_prose(_shuffle_sentences),
        keeps="nothing",
    ),
    "shuffle-words": Shift(
        "the words of every line in random order", of_prose(_shuffle_words), keeps="nothing"
    ),
}
