"""A content-blind baseline: which words the chosen responses of the training set have."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from rewardgap.data.records import Record, Response

# One-character words count too: digits and "I" carry what a wording rule can learn.
WORD = re.compile(r"\w+")
# Enough for a rule of single words, and few enough for its counts to be in memory.
MOST_RECORDS = 10_000


@dataclass(frozen=True)
class BagOfWords:
    """A linear reward over counts of lower-case words, blind to the prompt and to word order.

    Single words on purpose: what this rule gets right takes no understanding, so a reward model
    has to beat it before its accuracy says anything about meaning.

    Attributes:
        weights: Reward of one occurrence of each word; words not listed have none.
    """

    weights: Mapping[str, float]

    @classmethod
    def fit(cls, records: Iterable[Record]) -> "BagOfWords":
        """Logistic regression on differences of word counts, chosen minus rejected.

        Of more than `MOST_RECORDS` records, so many are drawn from a fixed seed.

        Every pair also enters negated with the label flipped, and there is no intercept, so the
        rule does not know which response came first. Records without any word give the rule
        that scores everything 0.
        """
        records = draw(records, MOST_RECORDS)
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
        """Reward of one response's text; the order of its words does not matter, to the bit."""
        counts = Counter(words(text))
        return math.fsum(self.weights.get(word, 0.0) * count for word, count in counts.items())

    def scores(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Rewards of several texts, shape (texts,)."""
        return np.array([self.score(text) for text in texts], dtype=np.float64)


def draw(records: Iterable[Record], size: int) -> list[Record]:
    """All records where there are at most `size`, else so many at random, always the same ones.

    Each is as likely as any other, and only those drawn so far are in memory (Vitter, 1985,
    algorithm R).
    """
    generator = np.random.default_rng(0)
    drawn: list[Record] = []
    for seen, record in enumerate(records):
        if seen < size:
            drawn.append(record)
        elif (place := int(generator.integers(seen + 1))) < size:
            drawn[place] = record
    return drawn


def words(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return WORD.findall(text.lower())


def response_text(response: Response) -> str:
    """What a response says, its messages joined by line breaks."""
    return "\n".join(message.content for message in response)


def _pair_indices(records: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Positions, in all responses in order, of the chosen and the rejected one of every pair."""
    chosen: list[int] = []
    rejected: list[int] = []
    start = 0
    for record in records:
        for i, j in record.pairs:
            chosen.append(start + i)
            rejected.append(start + j)
        start += len(record.responses)
    return chosen, rejected
