"""What a shift does to the rewards of a model: accuracy, verdicts, rewards and margins."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.comparisons import adjust, is_difference
from rewardgap.evaluation.margins import half_margins
from rewardgap.evaluation.robustness import Drop, drop
from rewardgap.evaluation.scores import ScoreRow

Place = tuple[str, str]
"""A model and a shift."""


@dataclass(frozen=True)
class Effect:
    """What a shift does to the rewards of a model, over all records that were rated in both words.

    A record that the shift could not change counts as one whose rewards stay.

    Attributes:
        changed: Number of records that the shift changed.
        before: Accuracy in the original words.
        after: Accuracy in the other words.
        cost: Accuracy lost with its interval and its paired permutation test, and verdicts flipped.
        reward_change: Mean change of the reward of a response, in standard deviations of the
            original rewards; None where these are all equal.
        effect_size: Cohen's d of the paired fall of the margin, its mean in its own standard
            deviations; None where all margins fall by the same.
    """

    changed: int
    before: float
    after: float
    cost: Drop
    reward_change: float | None
    effect_size: float | None

    @property
    def lost(self) -> float:
        """The accuracy that is lost."""
        return self.cost.loss.difference.value

    @property
    def is_detected(self) -> bool:
        """Whether accuracy differs, by the test after Holm's correction and by the interval."""
        return is_difference(self.cost.loss)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as `robustness.json` has them."""
        loss = self.cost.loss
        return {
            "records": loss.n,
            "changed": self.changed,
            "left_out": self.cost.left_out,
            "accuracy_before": self.before,
            "accuracy_after": self.after,
            "accuracy_lost": asdict(loss.difference),
            "flip_rate": asdict(self.cost.flip_rate),
            "reward_change": self.reward_change,
            "effect_size": self.effect_size,
            "permutation_p": loss.permutation_p,
            "holm_p": loss.holm_p,
            "bh_p": loss.bh_p,
            "detected": self.is_detected,
        }


def measure_effect(
    before: Sequence[ScoreRow], after: Sequence[ScoreRow], changed: Collection[str], seed: int = 0
) -> Effect:
    """Return what a shift does, with p-values that are not adjusted.

    Args:
        before: Rows of the records in the original words.
        after: Rows of the same ids in the other words, of which some may be missing.
        changed: Ids of the records that the shift changed.
        seed: Of the resamples.
    """
    cost = drop([(before, after)], ("the original data", "the shifted data"), seed)
    pairs = shared_rows(before, after)
    old, new = ([pair[side].scores for pair in pairs] for side in (0, 1))
    rewards, shifted = (
        np.array([r for sides in rows for s in sides for r in s]) for rows in (old, new)
    )
    spread, falls = float(np.std(rewards)), half_margins(old) - half_margins(new)
    return Effect(
        changed=sum(row.id in changed for row, _ in pairs),
        before=float(record_accuracies(old).mean()),
        after=float(record_accuracies(new).mean()),
        cost=cost,
        reward_change=float((shifted - rewards).mean() / spread) if spread else None,
        effect_size=_effect_size(falls),
    )


def shared_rows(
    before: Sequence[ScoreRow], after: Sequence[ScoreRow]
) -> list[tuple[ScoreRow, ScoreRow]]:
    """Return the rows of the records that are in both, in order."""
    counterparts = {row.id: row for row in after}
    return [(row, counterparts[row.id]) for row in before if row.id in counterparts]


def _effect_size(values: FloatArray) -> float | None:
    """Return the mean of values in their standard deviations; None if they are all equal."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / deviation if deviation else None


def adjust_effects(effects: Mapping[Place, Effect]) -> dict[Place, Effect]:
    """Return effects with p-values adjusted for all models and shifts together."""
    losses = adjust({place: effect.cost.loss for place, effect in effects.items()})
    return {
        place: replace(effect, cost=replace(effect.cost, loss=losses[place]))
        for place, effect in effects.items()
    }
