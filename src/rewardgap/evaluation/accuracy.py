"""Which responses are ranked rightly, record by record, and by which baselines.

A record of several responses counts once, as the mean over its chosen x rejected pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardgap.evaluation.bootstrap import Clusters, FloatArray
from rewardgap.evaluation.scores import RecordRewards, Rewards, ScoreRow

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
    """Return the rewards of the baselines that every row has.

    Those that the rows hold, of which `longer` rewards a response by its length, and `shorter`,
    which is its negative. Where rows hold no lengths, as other tools write them, tokens count.
    """
    stored = [name for name in rows[0].baselines if all(name in row.baselines for row in rows)]
    rules = {name: [row.baselines[name] for row in rows] for name in stored}
    longer = rules.pop("longer", None)
    if longer is None and all(row.tokens_chosen for row in rows):
        longer = [(_floats(row.tokens_chosen), _floats(row.tokens_rejected)) for row in rows]
    if longer is None:
        return rules
    shorter = [(_negative(chosen), _negative(rejected)) for chosen, rejected in longer]
    return {"longer": longer, "shorter": shorter} | rules


def _floats(lengths: Sequence[int]) -> Rewards:
    return tuple(map(float, lengths))


def _negative(rewards: Rewards) -> Rewards:
    return tuple(-reward for reward in rewards)
