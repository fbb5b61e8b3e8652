"""Which responses are ranked rightly, record by record, and by which content-blind rules.

A record of several responses counts once, as the mean over its chosen x rejected pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardgap.evaluation.bootstrap import Clusters, FloatArray
from rewardgap.evaluation.scores import RecordRewards, ScoreRow

CHANCE = 0.5
"""Accuracy of a rule that tosses a coin, and of one that finds all responses equal."""


@dataclass(frozen=True)
class FlatPairs:
    """Every chosen x rejected pair of every record, flat.

    Attributes:
        record: Index of each pair's record, shape (pairs,), as the rewards.
        chosen: Reward of its chosen response.
        rejected: Reward of its rejected response.
    """

    record: NDArray[np.intp]
    chosen: FloatArray
    rejected: FloatArray

    @classmethod
    def of(cls, rewards: Sequence[RecordRewards]) -> "FlatPairs":
        """Return the pairs of records, in order."""
        counts = [len(chosen) * len(rejected) for chosen, rejected in rewards]
        return cls(
            record=np.repeat(np.arange(len(rewards)), counts),
            chosen=np.array([c for chosen, rejected in rewards for c in chosen for _ in rejected]),
            rejected=np.array(
                [r for chosen, rejected in rewards for _ in chosen for r in rejected]
            ),
        )

    @property
    def order(self) -> FloatArray:
        """1 where the chosen response has the larger reward, 0 for a tie, -1 where it does not."""
        # A comparison, not a difference: that of two huge rewards would overflow.
        return np.where(self.chosen > self.rejected, 1.0, -1.0 * (self.chosen < self.rejected))

    def mean_by_record(self, values: FloatArray) -> FloatArray:
        """Return the mean of a value of pairs over each record's pairs, shape (records,)."""
        return np.bincount(self.record, weights=values) / np.bincount(self.record)


def record_accuracies(rewards: Sequence[RecordRewards]) -> FloatArray:
    """Return each record's share of pairs with r(chosen) > r(rejected) (definition 1).

    A tie counts one half. Shape (records,), values in [0, 1]; their mean is the accuracy.
    """
    pairs = FlatPairs.of(rewards)
    return pairs.mean_by_record(0.5 + 0.5 * np.sign(pairs.order))


def count_ties(rewards: Sequence[RecordRewards]) -> int:
    """Return the number of chosen x rejected pairs with equal rewards."""
    return int(np.sum(FlatPairs.of(rewards).order == 0))


def prompt_clusters(rows: Sequence[ScoreRow]) -> Clusters:
    """Return numbers of the rows' prompts, from 0; a row without `prompt` has one of its own."""
    numbers: dict[tuple[str, str], int] = {}
    names = [(row.prompt, "" if row.prompt else row.id) for row in rows]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def baseline_rewards(rows: Sequence[ScoreRow]) -> dict[str, list[RecordRewards]]:
    """Return the rewards of the content-blind baselines that every row has.

    `longer` rewards a response by its tokens, `shorter` by their negative; then the baselines
    stored in the rows themselves, and `constant`, for which all responses are equal.
    """
    rules: dict[str, list[RecordRewards]] = {}
    if all(row.tokens_chosen for row in rows):
        rules["longer"] = [_lengths(row, sign=1) for row in rows]
        rules["shorter"] = [_lengths(row, sign=-1) for row in rows]
    stored = [name for name in rows[0].baselines if all(name in row.baselines for row in rows)]
    rules |= {name: [row.baselines[name] for row in rows] for name in stored}
    constant = [
        ((0.0,) * len(row.scores_chosen), (0.0,) * len(row.scores_rejected)) for row in rows
    ]
    return rules | {"constant": constant}


def _lengths(row: ScoreRow, sign: int) -> RecordRewards:
    return (
        tuple(float(sign * tokens) for tokens in row.tokens_chosen),
        tuple(float(sign * tokens) for tokens in row.tokens_rejected),
    )
