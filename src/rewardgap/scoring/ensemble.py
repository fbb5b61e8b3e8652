"""Ensembles of reward models: every member rates all responses, a rule combines the rewards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardgap.data.dropped import Dropped
from rewardgap.data.records import Record
from rewardgap.evaluation.ensembles import EnsembleName
from rewardgap.scoring.rater import Prompt, Rated, Rater


@dataclass(frozen=True)
class Ensemble(Rater):
    """Reward models that rate together.

    Attributes:
        name: The rule, and the members' names.
        members: What opens each member, or returns it where it is kept in memory.
    """

    name: EnsembleName
    members: Sequence[Callable[[], Rater]]

    def score(self, prompt: Prompt, responses: str | Sequence[str]) -> list[float]:
        """Return the combined rewards of responses to one prompt; see `Rater.score`."""
        ratings = [[member().score(prompt, responses)] for member in self.members]
        return self.name.combine(ratings)[0]

    def rate(
        self, records: Sequence[Record], dropped: Dropped | None = None, prefixes: bool = False
    ) -> Rated:
        """Return the combined rewards of the records that every member can read; no prefixes."""
        rated: list[Rated] = []
        for member in self.members:
            rated.append(member().rate(rated[-1].records if rated else records, dropped))
        usable = {record.id for record in rated[-1].records}
        first = [
            (record, tree)
            for record, tree in zip(rated[0].records, rated[0].trees, strict=True)
            if record.id in usable
        ]
        ratings = [
            [
                rewards
                for record, rewards in zip(member.records, member.rewards, strict=True)
                if record.id in usable
            ]
            for member in rated
        ]
        self.name.warn_of_scales(ratings)
        return Rated(
            [record for record, _ in first], [tree for _, tree in first], self.name.combine(ratings)
        )
