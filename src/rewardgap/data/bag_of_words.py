"""A baseline: a linear reward over the words of a response."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from rewardgap.data.records import Record, Response

# Words of one character count too: digits and "I" are informative.
WORD = re.compile(r"\w+")
# Enough for a rule of single words, and few enough to keep their counts in memory.
MAX_RECORDS = 10_000


@dataclass(frozen=True)
class BagOfWords:
    """A linear reward over counts of lower-case words, blind to the prompt and to word order.

    `weights` are the rewards of one occurrence of each word; other words have none. The rule cannot
    understand a response, so the accuracy of a reward model says something about meaning only if it
    is higher.
    """

    weights: Mapping[str, float]

    @classmethod
    def fit(cls, records: Iterable[Record]) -> "BagOfWords":
        """Fit logistic regression to differences of word counts, chosen minus rejected.

        At most `MAX_RECORDS` records are used, drawn with a fixed seed. Every pair also enters
        negated with the label flipped, and there is no intercept, so the rule does not know which
        response came first. If no response has a word, every reward is 0.
        """
        records = draw(records, MAX_RECORDS)
        texts = [response_text(response) for record in records for response in record.responses]
        if not any(map(WORD.search, texts)):
            return cls({})
        vectorizer = CountVectorizer(analyzer=words)
        counts = vectorizer.fit_transform(texts).astype(np.float64)
        chosen, rejected = _pair_indices(records)
        differences = counts[chosen] - counts[rejected]
        labels = np.repeat([1, 0], len(chosen))
        # First-order solvers stall on raw counts of long responses; this one converges.
        model = LogisticRegression(fit_intercept=False, solver="newton-cg")
        model.fit(vstack([differences, -differences]), labels)
        names = vectorizer.get_feature_names_out()
        return cls(dict(zip(names.tolist(), model.coef_[0].tolist(), strict=True)))

    def score(self, text: str) -> float:
        """Return the reward of a text, the same to the bit for every order of its words."""
        counts = Counter(words(text))
        return math.fsum(self.weights.get(word, 0.0) * count for word, count in counts.items())

    def of_record(self, record: Record) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the rewards of a record's chosen and of its rejected responses."""
        chosen, rejected = (
            tuple(self.score(response_text(response)) for response in responses)
            for responses in (record.chosen, record.rejected)
        )
        return chosen, rejected

    def scores(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the rewards of texts, (texts,) float64."""
        return np.array([self.score(text) for text in texts], dtype=np.float64)


def draw(records: Iterable[Record], size: int) -> list[Record]:
    """Return all records if there are at most `size`, else a uniform sample with a fixed seed.

    Only the sample is in memory (Vitter, 1985, algorithm R).
    """
    generator = np.random.default_rng(0)
    drawn: list[Record] = []
    for seen, record in enumerate(records):
        if seen < size:
            drawn.append(record)
        elif (position := int(generator.integers(seen + 1))) < size:
            drawn[position] = record
    return drawn


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return WORD.findall(text.lower())


def response_text(response: Response) -> str:
    """Return the contents of a response's messages, joined by line breaks."""
    return "\n".join(message.content for message in response)


def _pair_indices(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Return the indices, among all responses in order, of both responses of every pair."""
    starts = accumulate((len(record.responses) for record in records), initial=0)
    pairs = [
        (start + chosen, start + rejected)
        for start, record in zip(starts, records, strict=False)
        for chosen, rejected in record.pairs
    ]
    return [chosen for chosen, _ in pairs], [rejected for _, rejected in pairs]
