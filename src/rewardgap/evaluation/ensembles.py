"""Ensembles by name, such as `mean(runs/a,runs/b)`: the members, and the reward that they agree on.

Members may be models, or score files of the same records.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import FloatArray

if TYPE_CHECKING:  # a name is checked before anything heavy is imported
    from rewardgap.evaluation.scores import ScoreRow

logger = logging.getLogger(__name__)

RULES: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "mean": lambda rewards: rewards.mean(axis=0),
    "worst": lambda rewards: rewards.min(axis=0),
    "mean-std": lambda rewards: rewards.mean(axis=0) - rewards.std(axis=0),
}
"""By name, the reward of (members, responses) rewards; `std` is over members, divided by n."""

FORM = re.compile(r"\s*([\w-]+)\((.*)\)\s*", re.DOTALL)
UNEQUAL = 3.0
"""Members whose rewards vary so many times as much as those of another outvote it."""

Ratings = Sequence[Sequence[float]]
"""For every record the rewards of its responses, chosen ones first."""


@dataclass(frozen=True)
class EnsembleName:
    """A rule of `RULES` and the names of at least two members."""

    rule: str
    members: tuple[str, ...]

    def combine(self, ratings: Sequence[Ratings]) -> list[list[float]]:
        """Return for every record the rewards that all members together give its responses."""
        combined = iter(RULES[self.rule](_flat(ratings)).tolist())
        return [[next(combined) for _ in record] for record in ratings[0]]

    def warn_of_scales(self, ratings: Sequence[Ratings]) -> None:
        """Say if the rewards of one member vary so much that it outvotes another."""
        deviations = _flat(ratings).std(axis=1)
        widest, narrowest = int(deviations.argmax()), int(deviations.argmin())
        if deviations[widest] > UNEQUAL * deviations[narrowest]:
            logger.warning(
                "the rewards of %s vary by %.3g and those of %s by %.3g: %s is mostly the first; "
                "`--standardise` of score and rank brings them to one scale",
                *(self.members[widest], deviations[widest]),
                *(self.members[narrowest], deviations[narrowest], self.rule),
            )


def _flat(ratings: Sequence[Ratings]) -> FloatArray:
    """Return all rewards of every member, shape (members, responses)."""
    return np.array([[r for record in member for r in record] for member in ratings])


def parse_ensemble(name: str) -> EnsembleName | None:
    """Return the ensemble that a name asks for; None for any other name, or one that exists.

    Raises:
        UserError: There is no such rule, or there are fewer than two members.
    """
    form = FORM.fullmatch(name)
    if form is None or os.path.exists(name):
        return None
    rule, inside = form.groups()
    if rule not in RULES:
        raise UserError(f"{name}: {rule} is no ensemble; choose {', '.join(RULES)}")
    members = tuple(member.strip() for member in inside.split(","))
    if len(members) < 2 or not all(members) or any(f"{known}(" in inside for known in RULES):
        raise UserError(
            f"{name}: name two or more members, none of them an ensemble, as {rule}(runs/a,runs/b)"
        )
    return EnsembleName(rule, tuple(map(os.path.expanduser, members)))


def combine_rows(ensemble: EnsembleName, files: Sequence[Sequence["ScoreRow"]]) -> list["ScoreRow"]:
    """Return score rows with the rewards of an ensemble of score files, in the first one's order.

    Raises:
        UserError: The files rate other records, or other responses to them.
    """
    first, *others = ({row.id: row for row in rows} for rows in files)
    for name, rows in zip(ensemble.members[1:], others, strict=True):
        for key, row in first.items():
            if key not in rows or not _same_responses(row, rows[key]) or len(rows) != len(first):
                raise UserError(
                    f"{name} does not rate the records of {ensemble.members[0]} (first: {key}); "
                    "an ensemble needs score files of the same data"
                )
    ratings = [
        [(*rows[key].scores_chosen, *rows[key].scores_rejected) for key in first]
        for rows in (first, *others)
    ]
    ensemble.warn_of_scales(ratings)
    return [
        replace(
            row,
            scores_chosen=tuple(rewards[: len(row.scores_chosen)]),
            scores_rejected=tuple(rewards[len(row.scores_chosen) :]),
        )
        for row, rewards in zip(first.values(), ensemble.combine(ratings), strict=True)
    ]


def _same_responses(row: "ScoreRow", other: "ScoreRow") -> bool:
    sizes = [(len(rated.scores_chosen), len(rated.scores_rejected)) for rated in (row, other)]
    return sizes[0] == sizes[1] and row.responses == other.responses
