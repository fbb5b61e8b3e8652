"""An explanation as plain numbers and text: the page and the JSON file show the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from rewardgap.data.records import Message


@dataclass(frozen=True)
class ResponseReward:
    """The reward of one response, token by token.

    Attributes:
        label: What the response is in its record, such as "chosen" or "rejected 2".
        tokens: The text of every token; together they are the text that the model read.
        prefix_rewards: The reward of the response up to and with each token.
    """

    label: str
    tokens: tuple[str, ...]
    prefix_rewards: tuple[float, ...]

    @property
    def reward(self) -> float:
        """Return the reward of the whole response."""
        return self.prefix_rewards[-1]

    @property
    def steps(self) -> tuple[float, ...]:
        """Return what each token adds to the reward; the first also has what the prompt gives."""
        return tuple(after - before for before, after in pairwise((0.0, *self.prefix_rewards)))


def characters(tokens: Sequence[str]) -> list[range]:
    """Return the tokens of every whole character or longer text, as ranges of indices.

    Tokens that are the first bytes of a character have no text: it stands at the last of them.
    """
    ends = [index + 1 for index, text in enumerate(tokens) if text or index + 1 == len(tokens)]
    return [range(start, end) for start, end in pairwise((0, *ends))]


@dataclass(frozen=True)
class RecordReward:
    """The rewards of one record: the chosen responses first."""

    id: str
    prompt: tuple[Message, ...]
    responses: tuple[ResponseReward, ...]
    truncated: bool
    row: int | None = None

    @property
    def margin(self) -> float | None:
        """Return r(x, y⁺) − r(x, y⁻) of a pair; None for a record of more responses."""
        if len(self.responses) != 2:
            return None
        return self.responses[0].reward - self.responses[1].reward


@dataclass(frozen=True)
class HeatMap:
    """ρ · ⟨h̄, h⟩ (or ⟨h̄, h⟩ alone) between the tokens of two responses that are shown.

    Rows are indices of tokens of the explained response, columns those of the training response.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Part:
    """How one response of a training pair moves the explained response.

    Attributes:
        label: "chosen" or "rejected", or what else the loss reads.
        tokens: The text of its tokens.
        contributions: What each of them adds to the pair's contribution.
        received: What each token of the explained response gets from it; the same sum.
        heat: The products themselves, before the sign and the factors of the loss.
    """

    label: str
    tokens: tuple[str, ...]
    contributions: tuple[float, ...]
    received: tuple[float, ...]
    heat: HeatMap

    @property
    def contribution(self) -> float:
        """Return what the whole response adds to the pair's contribution."""
        return sum(self.contributions)


@dataclass(frozen=True)
class PairInfluence:
    """A training pair with a large effect, and which of its tokens pull in the last layer.

    The share is that of its effect in the sizes of all pairs' effects.
    """

    id: str
    prompt: str
    contribution: float
    effect: float
    share: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class ResponseInfluence:
    """What the first step of training adds to the reward of one response.

    Attributes:
        tokens: The text of the response's tokens, as the heat maps number them.
        initial_reward: Its reward before training.
        contributions: What a step on each training pair alone adds in the last layer, per unit of
            learning rate.
        change: What the first step of Adam on all pairs adds, in all weights, likewise.
        effects: What more weight on each pair adds to that change.
        raising: The pairs with the largest positive effects, the largest first.
        lowering: Those with the largest negative ones.
    """

    tokens: tuple[str, ...]
    initial_reward: float
    contributions: tuple[float, ...]
    change: float
    effects: tuple[float, ...]
    raising: tuple[PairInfluence, ...]
    lowering: tuple[PairInfluence, ...]

    @property
    def predicted(self) -> float:
        """Return what a step on the mean loss over all pairs adds, per unit of learning rate."""
        return sum(self.contributions) / len(self.contributions)


@dataclass(frozen=True)
class Influence:
    """Contributions of training pairs to every response of the explained record, by an equation.

    Heat maps show the product; `pairs` are the names of those measured, of all that are available.
    """

    equation: str
    product: str
    pairs: tuple[str, ...]
    available: int
    responses: tuple[ResponseInfluence, ...]

    @property
    def margins(self) -> tuple[float, ...]:
        """Return every training pair's contribution to the margin; none unless it is of a pair."""
        return self._difference([response.contributions for response in self.responses])

    @property
    def margin_effects(self) -> tuple[float, ...]:
        """Return every training pair's effect on the margin; none unless it is of a pair."""
        return self._difference([response.effects for response in self.responses])

    @staticmethod
    def _difference(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        if len(values) != 2:
            return ()
        chosen, rejected = values
        return tuple(c - r for c, r in zip(chosen, rejected, strict=True))


@dataclass(frozen=True)
class Explanation:
    """Why the responses of one record have the rewards that a model of some kind gives them.

    `obstacle` says why no influence of training pairs is measured, and is empty where it is; the
    counterpart is another wording of the record, if one was named.

    Attributes:
        sums_tokens: Whether rewards are sums over tokens, see `RewardModel.sums_tokens`.
        before_training: Whether the model is as it was before training, as under a forecast.
        new_head: Whether its head is then random.
    """

    model: str
    kind: str
    record: RecordReward
    influence: Influence | None
    obstacle: str = ""
    counterpart: RecordReward | None = None
    sums_tokens: bool = True
    before_training: bool = False
    new_head: bool = False

    @property
    def drop(self) -> float | None:
        """Return the margin of the record less that of its counterpart."""
        margin = None if self.counterpart is None else self.counterpart.margin
        return None if self.record.margin is None or margin is None else self.record.margin - margin

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, those too that the page derives from others."""
        report = asdict(self) | {"drop": self.drop}
        for key, part in (("record", self.record), ("counterpart", self.counterpart)):
            if part is not None:
                report[key]["margin"] = part.margin
                for numbers, response in zip(report[key]["responses"], part.responses, strict=True):
                    numbers |= {"steps": response.steps, "reward": response.reward}
        if self.influence is not None:
            report["influence"]["margins"] = self.influence.margins
            report["influence"]["margin_effects"] = self.influence.margin_effects
            responses = report["influence"]["responses"]
            for numbers, pulled in zip(responses, self.influence.responses, strict=True):
                numbers["predicted"] = pulled.predicted
        return report
