"""Which training pairs, and which of their tokens, the first step of training moves a reward by.

Everything is computed from the initial language model with fixed hidden states. Training pairs are
read in packs of a token budget and their gradients in blocks of rows: memory depends neither on
the number of pairs nor on their tokens times the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.equations import TokenGradients, token_contributions
from rewardgap.dynamics.kernels import GradientSums, gradient_kernel
from rewardgap.dynamics.last_layer import LastLayer, Pull, Terms
from rewardgap.explaining.explanation import (
    HeatMap,
    Influence,
    PairInfluence,
    Part,
    ResponseInfluence,
)
from rewardgap.explaining.tokens import leaf_texts, response_labels
from rewardgap.io.progress import progress
from rewardgap.models.kinds.reward_model import ResponseStates, RewardModel
from rewardgap.models.language_model import CHUNK_VALUES
from rewardgap.models.packing import micro_batches, pack

HEAT_TOKENS = 32  # rows and columns of a heat map; a person reads no more, nor does a page


@dataclass(frozen=True)
class Training:
    """The training pairs that are looked at.

    Attributes:
        records: some or all of the training records.
        trees: the same ones, as the model's loss reads them.
        available: number of pairs of the whole training set.
    """

    records: Sequence[Record]
    trees: Sequence[Tree]
    available: int


@dataclass(frozen=True)
class Probe:
    """The explained record under the initial model.

    Attributes:
        model: the reward model as it is before training.
        layer: its last layer.
        tree: the explained record.
        terms: the gradients of the rewards of its responses.
        sums: the same ones, ready for a kernel.
        rewards: (M,) rewards of the responses.
    """

    model: RewardModel
    layer: LastLayer
    tree: Tree
    terms: Terms
    sums: GradientSums
    rewards: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: RewardModel, layer: LastLayer, tree: Tree) -> "Probe":
        """Read the record once."""
        leaves, rewards = read(model, [tree])
        terms = layer.reward_terms(leaves)
        return cls(model, layer, tree, terms, _sums(layer, terms, len(rewards)), rewards)


@torch.no_grad()
def measure_influence(
    probe: Probe, training: Training, token_budget: int | None, top: int
) -> Influence:
    """Contributions of all training pairs to the rewards of one record.

    Args:
        probe: the explained record.
        training: at least one pair.
        token_budget: tokens read at once; the result does not depend on it.
        top: number of pairs that raise, and of those that lower, each reward to describe by tokens.
    """
    places = [(i, k) for i, tree in enumerate(training.trees) for k in range(len(list(tree.pairs)))]
    contributions = measure_contributions(probe, training.trees, token_budget)
    responses = []
    for response, row in enumerate(contributions):
        order = row.argsort(descending=True).tolist()
        total = float(row.abs().sum()) or 1.0
        raising = [pair for pair in order[:top] if row[pair] > 0]
        lowering = [pair for pair in order[::-1][:top] if row[pair] < 0]
        described = {
            pair: _describe(probe, response, training, places[pair], float(row[pair].abs()) / total)
            for pair in raising + lowering
        }
        responses.append(
            ResponseInfluence(
                tokens=leaf_texts(probe.model.template, probe.tree, probe.tree.leaves[response]),
                initial_reward=float(probe.rewards[response]),
                contributions=tuple(row.tolist()),
                raising=tuple(described[pair] for pair in raising),
                lowering=tuple(described[pair] for pair in lowering),
            )
        )
    return Influence(
        equation=probe.layer.equation,
        product=probe.layer.product,
        pairs=tuple(_name(training.trees[i], k) for i, k in places),
        available=training.available,
        responses=tuple(responses),
    )


@torch.no_grad()
def measure_contributions(probe: Probe, trees: Sequence[Tree], token_budget: int | None) -> Tensor:
    """What a step on each pair alone adds to each reward, per unit of learning rate.

    Returns:
        (M, N) for the M responses of the probe and all N pairs of the trees, in order; float32.
    """
    counts = [len(list(tree.pairs)) for tree in trees]
    starts = [sum(counts[:i]) for i in range(len(counts))]
    contributions = torch.zeros(probe.sums.count, sum(counts), device=probe.model.device)
    for group in progress(micro_batches(trees, token_budget, probe.model.device), "training pairs"):
        leaves, rewards = read(probe.model, [trees[i] for i in group])
        kernel = _leaf_kernel(probe, leaves)
        columns = [starts[i] + k for i in group for k in range(counts[i])]
        for pull in probe.layer.pulls(leaves, rewards):
            contributions[:, columns] += kernel[:, pull.leaves] * pull.factors
    return contributions


def read(model: RewardModel, trees: Sequence[Tree]) -> tuple[ResponseStates, Tensor]:
    """Hidden states and (L,) rewards of trees under a model before training.

    There a model is its own reference, so that rewards relative to it are zero.
    """
    batch = pack(trees).to(model.device)
    leaves = model.read(batch)
    if model.needs_reference:
        return leaves, torch.zeros(len(batch.response_lengths), device=model.device)
    return leaves, model.rewards(leaves)


def _sums(layer: LastLayer, terms: Terms, leaves: int) -> GradientSums:
    return GradientSums(layer.gradients(terms), terms.weights, terms.owners, leaves)


def _leaf_kernel(probe: Probe, leaves: ResponseStates) -> Tensor:
    """(M, L) inner products of the probe's gradients and those of all leaves of a pack."""
    count = len(leaves.pack.response_lengths)
    kernel = torch.zeros(probe.sums.count, count, device=probe.model.device)
    rows = max(1, CHUNK_VALUES // probe.sums.tokens.residuals.shape[1])
    for block in probe.layer.loss_terms(leaves).split(rows):
        kernel += gradient_kernel(probe.sums, _sums(probe.layer, block, count))
    return kernel


def _name(tree: Tree, pair: int) -> str:
    """The record's id, with the two responses where there are more than two."""
    if tree.chosen == tree.rejected == 1:
        return tree.record
    labels = response_labels(tree)
    chosen, rejected = list(tree.pairs)[pair]
    return f"{tree.record} ({labels[chosen]}, {labels[rejected]})"


def _describe(
    probe: Probe, response: int, training: Training, place: tuple[int, int], share: float
) -> PairInfluence:
    """One training pair's contribution to one response, token by token."""
    index, pair = place
    tree = training.trees[index]
    leaves, rewards = read(probe.model, [tree])
    terms = probe.layer.loss_terms(leaves)
    explained = _Side.of(probe.layer, probe.terms, probe.tree, response)
    parts = []
    for pull in probe.layer.pulls(leaves, rewards):
        leaf = int(pull.leaves[pair])
        texts = leaf_texts(probe.model.template, tree, tree.leaves[leaf])
        own = _Side.of(probe.layer, terms, tree, leaf)
        parts.append(_part(pull, pair, texts, explained, own))
    return PairInfluence(
        id=_name(tree, pair),
        prompt=training.records[index].prompt[-1].content,
        contribution=sum(part.contribution for part in parts),
        share=share,
        parts=tuple(parts),
    )


def _part(
    pull: Pull, pair: int, texts: tuple[str, ...], explained: "_Side", training: "_Side"
) -> Part:
    """What one training response does to the explained one, by the tokens of both."""
    products = token_contributions(explained.gradients, training.gradients)
    weighted = pull.factors[pair] * explained.weights[:, None] * products * training.weights
    rows, columns = _strongest(weighted.sum(1)), _strongest(weighted.sum(0))
    return Part(
        label=pull.label,
        tokens=texts,
        contributions=_spread(weighted.sum(0), training),
        received=_spread(weighted.sum(1), explained),
        heat=HeatMap(
            rows=tuple(explained.at[rows].tolist()),
            columns=tuple(training.at[columns].tolist()),
            values=tuple(map(tuple, products[rows][:, columns].tolist())),
        ),
    )


@dataclass(frozen=True)
class _Side:
    """The terms of one leaf: gradients, their weights and places among its `size` tokens."""

    gradients: TokenGradients
    weights: Tensor
    at: Tensor
    size: int

    @classmethod
    def of(cls, layer: LastLayer, terms: Terms, tree: Tree, leaf: int) -> "_Side":
        own = terms.of(leaf)
        lengths = [len(tree.nodes[node]) for node in tree.leaves]
        return cls(layer.gradients(own), own.weights, own.rows - sum(lengths[:leaf]), lengths[leaf])


def _spread(values: Tensor, side: _Side) -> tuple[float, ...]:
    """Values of terms as values of all of a leaf's tokens: 0 where there is no term."""
    spread = torch.zeros(side.size, dtype=torch.float64, device=values.device)
    return tuple(spread.index_add_(0, side.at, values.double()).tolist())


def _strongest(values: Tensor) -> Tensor:
    """Indices, in order, of at most `HEAT_TOKENS` values that are largest in size."""
    return values.abs().topk(min(HEAT_TOKENS, len(values))).indices.sort().values
