"""The basis vectors of a training: held in memory, and multiplied with whatever is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Training
from rewardgap.dynamics.readouts import Readout
from rewardgap.forecasting.evaluation import Evaluation
from rewardgap.forecasting.features import Array, Features, kernel
from rewardgap.forecasting.passes import Pass, Reader, probed_responses


class Basis:
    """One kind's features of the training rows, and then its probes.

    A training row is what training raises: a score difference, chosen minus rejected, or for a kind
    that judges responses singly the score of a chosen response and minus that of a rejected one.

    Args:
        readout: the kind's read-out.
        trees: the training records.
        over: the pass that reads them.
        size: W.
    """

    def __init__(self, readout: Readout, trees: Sequence[Tree], over: Pass, size: int):
        self.lengths = _lengths(trees)
        self.parts, self.rows = _rows(trees, readout.judges_singly)
        probed = probed_responses(len(self.lengths)) if readout.drifts else range(0)
        self.tokens = max(1.0, self.lengths[probed].sum())
        self.noise = over.sketch.noise
        self.vectors = torch.zeros(self.rows + len(probed), size, dtype=over.held)
        self.filled = self.rows
        self.scores = np.zeros(len(self.lengths))

    def add(self, numbers: Sequence[int], found: Features) -> None:
        """Add some responses and the probes among them."""
        for number, value in zip(numbers, found.values, strict=True):
            for row, sign in self.parts[number]:
                self.vectors[row].add_(value, alpha=sign)
        end = self.filled + len(found.probes)
        self.vectors[self.filled : end] = found.probes
        self.filled = end
        self.scores[numbers] = found.scores

    def training(self) -> Training:
        """The training, once all responses are there."""
        products = kernel(self.vectors, self.vectors)
        return Training(
            products,
            initial=self._by_row(self.scores),
            lengths=self._by_row(self.lengths),
            tokens=self.tokens,
            noise=self.noise * products.diagonal()[self.rows :].sum(),
            counts=np.ones(self.rows),
        )

    def _by_row(self, values: Array) -> Array:
        """(N,) values of the rows from those of the responses."""
        total = np.zeros(self.rows)
        for parts, value in zip(self.parts, values, strict=True):
            for row, sign in parts:
                total[row] += sign * value
        return total


def read_bases(over: Pass, reader: Reader, trees: Sequence[Tree]) -> dict[str, Basis]:
    """The basis vectors of every kind of a pass, from the training records."""
    bases: dict[str, Basis] = {}
    for numbers, found in reader.packs(over, trees):
        for kind, features in found.items():
            if kind not in bases:
                size = features.values.shape[1]
                bases[kind] = Basis(over.readouts[kind], trees, over, size)
            bases[kind].add(numbers, features)
    return bases


@dataclass(frozen=True)
class _Part:
    """Some responses of an evaluation set (see `Evaluation`), and the squared norms of probes."""

    kernel: Array
    probes: Array
    scores: Array
    norms: Array

    @classmethod
    def of(cls, features: Features, basis: Basis) -> "_Part":
        return cls(
            kernel(features.values, basis.vectors),
            kernel(features.probes, basis.vectors),
            features.scores.double().numpy(),
            features.probes.double().square().sum(1).numpy(),
        )


def evaluate(
    over: Pass, reader: Reader, trees: Sequence[Tree], bases: Callable[[], Mapping[str, Basis]]
) -> dict[str, Evaluation]:
    """An evaluation set for every kind; nothing is held of its responses but products."""
    order: list[int] = []
    parts: dict[str, list[_Part]] = {kind: [] for kind in over.readouts}
    for numbers, found in reader.packs(over, trees):
        order += numbers
        for kind, features in found.items():
            parts[kind].append(_Part.of(features, bases()[kind]))
    lengths, places = _lengths(trees), np.argsort(order)
    tokens = max(1.0, lengths[probed_responses(len(lengths))].sum())
    return {
        kind: Evaluation(
            kernel=np.concatenate([part.kernel for part in some])[places],
            probes=np.concatenate([part.probes for part in some]),
            scores=np.concatenate([part.scores for part in some])[places],
            lengths=lengths,
            tokens=tokens,
            noise=over.sketch.noise * sum(float(part.norms.sum()) for part in some),
        )
        for kind, some in parts.items()
    }


def _rows(trees: Sequence[Tree], judges_singly: bool) -> tuple[list[list[tuple[int, int]]], int]:
    """For every response the rows that it is part of, with its sign; and the number of rows."""
    pairs = list(_pairs(trees))
    shift = len(pairs) if judges_singly else 0
    parts: list[list[tuple[int, int]]] = [[] for tree in trees for _ in tree.leaves]
    for row, (chosen, rejected) in enumerate(pairs):
        parts[chosen].append((row, 1))
        parts[rejected].append((row + shift, -1))
    return parts, len(pairs) + shift


def _pairs(trees: Sequence[Tree]) -> Iterator[tuple[int, int]]:
    """The numbers of the responses of all pairs."""
    start = 0
    for tree in trees:
        for chosen, rejected in tree.pairs:
            yield start + chosen, start + rejected
        start += len(tree.leaves)


def _lengths(trees: Sequence[Tree]) -> Array:
    """(R,) places of all responses at which the scores of a pair may drift apart."""
    lengths = [len(tree.nodes[leaf]) - 1 for tree in trees for leaf in tree.leaves]
    return np.array(lengths, dtype=np.float64)
