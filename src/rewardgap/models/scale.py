"""The scale of a model's rewards: mean and deviation, by which they can be standardised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation (divided by n) of a model's rewards for some responses.

    Attributes:
        mean: What is subtracted from a reward.
        deviation: What the rest is divided by; positive.
        responses: How many responses had these rewards.
        data: Where they were.
    """

    mean: float
    deviation: float
    responses: int
    data: str

    def __post_init__(self) -> None:
        """Refuse what no reward can be divided by."""
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf):
            raise UserError(
                f"rewards of mean {self.mean:.6g} and deviation {self.deviation:.6g} on "
                f"{self.data} give no scale"
            )

    @classmethod
    def of(cls, rewards: Sequence[Sequence[float]], data: str) -> "RewardScale":
        """Return the scale of the rewards of records.

        Raises:
            UserError: All are equal, or one is not finite.
        """
        values = np.array([reward for record in rewards for reward in record])
        return cls(float(values.mean()), float(values.std()), len(values), data)

    def standardise(self, rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return rewards in deviations from the mean."""
        return [[(reward - self.mean) / self.deviation for reward in record] for record in rewards]
