"""Which training pairs raise and lower a reward most, and which of their tokens pull at it.

Pairs are ordered by their effects on the first step of Adam in all weights; which of their tokens
pull is computed with fixed hidden states, in the last layer. All of it is from the initial language
model. Training pairs are read in packs of a token budget and their gradients in blocks of rows:
memory depends neither on the number of pairs nor on their tokens times the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.equations import GradientSums, token_contributions
from rewardgap.dynamics.last_layer import (
    contributions,
    gradient_sums,
    pull_factors,
    token_gradients,
)
from rewardgap.explaining.explanation import (
    HeatMap,
    Influence,
    PairInfluence,
    Part,
    ResponseInfluence,
)
from rewardgap.explaining.first_step import measure_first_step
from rewardgap.explaining.tokens import leaf_texts, response_labels
from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.kinds.reward_model import ResponseStates, TrainedRewardModel
from rewardgap.models.packing import Pack, map_trees, pack

HEAT_TOKENS = 12  # rows and columns of a heat map; a person reads no more, nor does a page


@dataclass(frozen=True)
class TrainingPairs:
    """Some training records as they are and as the loss reads them; of all, the number of pairs."""

    records: Sequence[Record]
    trees: Sequence[Tree]
    available: int


@dataclass(frozen=True)
class ExplainedRecord:
    """The explained record under the model before training, with (M,) rewards of its responses.

    They read the terms; `sums` are the gradients of these M values, and `slopes` the (M,)
    derivatives of the rewards by them.
    """

    model: TrainedRewardModel
    tree: Tree
    states: ResponseStates
    rewards: Tensor
    terms: Terms
    sums: GradientSums
    slopes: Tensor

    @classmethod
    @torch.no_grad()
    def read(cls, model: TrainedRewardModel, tree: Tree) -> "ExplainedRecord":
        """Read the record once."""
        states, rewards = _read(model, pack([tree]).to(model.device))
        terms = model.gradient_terms(states.pack)
        sums = gradient_sums(model, terms, states)
        return cls(model, tree, states, rewards, terms, sums, model.reward_slopes(rewards))


@torch.no_grad()
def measure_influence(
    explained: ExplainedRecord,
    training: TrainingPairs,
    token_budget: int | None,
    top: int,
    batch_size: int,
) -> Influence:
    """Return contributions and effects of all training pairs, at least one, for one record.

    The `top` pairs that raise, and those that lower each reward most are described by tokens. The
    batch size is that of training. Nothing depends on the token budget.
    """
    model = explained.model
    pairs = [
        (record, tree, pair)
        for record, tree in zip(training.records, training.trees, strict=True)
        for pair in range(tree.pair_count)
    ]
    step = measure_first_step(model, [explained.tree], training.trees, batch_size)
    contributed = measure_contributions(explained, training.trees, token_budget).tolist()
    responses = []
    for response, row in enumerate(step.effects):
        order = row.argsort(descending=True).tolist()
        shares = (row.abs() / (float(row.abs().sum()) or 1.0)).tolist()
        raising = [pair for pair in order[:top] if row[pair] > 0]
        lowering = [pair for pair in order[::-1][:top] if row[pair] < 0]
        described = (
            tuple(
                replace(
                    _describe(explained, response, *pairs[pair]),
                    effect=float(row[pair]),
                    share=shares[pair],
                )
                for pair in side
            )
            for side in (raising, lowering)
        )
        texts = leaf_texts(model.template, explained.tree, explained.tree.leaves[response])
        reward = float(explained.rewards[response])
        effects = float(step.changes[response]), tuple(row.tolist())
        contributions = tuple(contributed[response])
        responses.append(ResponseInfluence(texts, reward, contributions, *effects, *described))
    return Influence(
        equation=model.equation or "",
        product=f"{model.coefficient} · ⟨h̄, h⟩" if model.coefficient else "⟨h̄, h⟩",
        pairs=tuple(_name(tree, pair) for _, tree, pair in pairs),
        available=training.available,
        responses=tuple(responses),
    )


@torch.no_grad()
def measure_contributions(
    explained: ExplainedRecord, trees: Sequence[Tree], token_budget: int | None
) -> Tensor:
    """Return what a step on each pair alone adds to each reward, per unit of learning rate.

    It is float32, (M, P) for the M explained responses and all P pairs of the trees in order.
    """
    model = explained.model

    def of_pack(batch: Pack, trees: Sequence[Tree]) -> list[Tensor]:
        states, rewards = _read(model, batch)
        values = contributions(explained.sums, explained.slopes, model, states, rewards)
        return list(values.split([tree.pair_count for tree in trees], dim=1))

    return torch.cat(map_trees(trees, of_pack, token_budget, model.device, "training pairs"), 1)


def _read(model: TrainedRewardModel, batch: Pack) -> tuple[ResponseStates, Tensor]:
    """Return hidden states and (L,) rewards under a model before training: its own reference."""
    states = model.read(batch)
    if model.needs_reference:
        return states, torch.zeros(len(batch.response_lengths), device=model.device)
    return states, model.rewards(states)


def _name(tree: Tree, pair: int) -> str:
    """Return the record's id, with the two responses where there are more than two."""
    if tree.chosen == tree.rejected == 1:
        return tree.record
    labels = response_labels(tree)
    chosen, rejected = list(tree.pairs)[pair]
    return f"{tree.record} ({labels[chosen]}, {labels[rejected]})"


def _describe(
    explained: ExplainedRecord, response: int, record: Record, tree: Tree, pair: int
) -> PairInfluence:
    """Describe the contribution of a record's pair to one response, token by token."""
    model = explained.model
    states, rewards = _read(model, pack([tree]).to(model.device))
    terms = model.loss_terms(states.pack)
    receiving = _Side(model, explained.terms, explained.states, response)
    parts = []
    for pull in model.pulls(states.pack):
        factor = explained.slopes[response] * pull_factors(model, pull, states, rewards)[pair]
        leaf = int(pull.responses[pair])
        texts = leaf_texts(model.template, tree, tree.leaves[leaf])
        pulling = _Side(model, terms, states, leaf)
        parts.append(_part(pull.label, factor, texts, receiving, pulling))
    contribution = sum(part.contribution for part in parts)
    prompt = record.prompt[-1].content
    return PairInfluence(_name(tree, pair), prompt, contribution, 0.0, 0.0, tuple(parts))


class _Side:
    """The read-outs of one response, each at one of its `size` tokens."""

    def __init__(
        self, model: TrainedRewardModel, terms: Terms, states: ResponseStates, response: int
    ):
        selected = terms.select(terms.responses == response)
        lengths = states.pack.response_lengths.tolist()
        self.gradients = token_gradients(model, selected, states)
        self.weights = selected.weights
        self.at = selected.tokens - sum(lengths[:response])
        self.size = lengths[response]

    def spread(self, values: Tensor) -> tuple[float, ...]:
        """Return values of read-outs as values of all tokens: 0 where there is no read-out."""
        spread = torch.zeros(self.size, dtype=torch.float64, device=values.device)
        return tuple(spread.index_add_(0, self.at, values.double()).tolist())


def _part(
    label: str, factor: Tensor, texts: tuple[str, ...], receiving: _Side, pulling: _Side
) -> Part:
    """Return what one training response does to the explained one, by the tokens of both."""
    products = token_contributions(receiving.gradients, pulling.gradients)
    weighted = factor * receiving.weights[:, None] * products * pulling.weights
    received, adds = weighted.sum(1), weighted.sum(0)
    rows, columns = _strongest(received), _strongest(adds)
    heat = HeatMap(
        rows=tuple(receiving.at[rows].tolist()),
        columns=tuple(pulling.at[columns].tolist()),
        values=tuple(map(tuple, products[rows][:, columns].tolist())),
    )
    return Part(label, texts, pulling.spread(adds), receiving.spread(received), heat)


def _strongest(values: Tensor) -> Tensor:
    """Return indices, in order, of at most `HEAT_TOKENS` values that are largest in size."""
    return values.abs().topk(min(HEAT_TOKENS, len(values))).indices.sort().values
