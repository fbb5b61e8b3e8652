"""Kernels: inner products of the features of all responses with those of the training pairs.

The features of the training data are held in memory; those of evaluation data are multiplied with
them as they are read. Kernels are cached: they do not grow with the model or its projections.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardgap.data.tree_store import content_of
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import KernelTraining, TrajectoryPoints, token_variance
from rewardgap.dynamics.projection import RandomProjection
from rewardgap.forecasting.features import FeatureReader, Features, tested_responses
from rewardgap.io.cache import cache_key, cached_arrays

Array = NDArray[np.float64]

FORMAT = 3
"""Of cached kernels; another number wherever other ones are computed."""

# Columns multiplied at once in float64.
COLUMNS = 4096


def products(left: Tensor, right: Tensor) -> Array:
    """Return (R, N) inner products of (R, W) and (N, W) vectors, summed in float64.

    In float32 rounding would pass for directions in which no data are.
    """
    total = np.zeros((len(left), len(right)))
    blocks = zip(left.split(COLUMNS, dim=1), right.split(COLUMNS, dim=1), strict=True)
    for left_block, right_block in blocks:
        total += (left_block.double() @ right_block.double().T).numpy()
    return total


@dataclass(frozen=True)
class EvaluationKernel:
    """An evaluation set of R responses, against the B basis vectors of a training.

    Attributes:
        kernel: (R, B) inner products of the features.
        test_vectors: (M, B) inner products of the test vectors.
        scores: (R,) the scores before training.
        lengths: (R,) number of tokens at which the log-partition weighs on a response.
        tokens: How many tokens the test vectors represent, at least 1.
        noise: Of the test vectors, see `token_variance`.
    """

    kernel: Array
    test_vectors: Array
    scores: Array
    lengths: Array
    tokens: float
    noise: float

    def change(self, weights: Array) -> Array:
        """Return (R, P) first-order changes of the scores by (B, P) weights."""
        return np.asarray(self.kernel @ weights)

    def trained(self, points: TrajectoryPoints) -> Array:
        """Return (R, P) scores at P points, the log-partition included."""
        tested = self.test_vectors @ points.weights.T
        variance = token_variance(tested, points.norms, self.tokens, self.noise)
        correction = variance / 2 * self.lengths[:, None]
        return np.asarray(self.scores[:, None] + self.change(points.weights.T) - correction)


@dataclass(frozen=True)
class KindKernels:
    """All that a kind's training and evaluation on sets need; a pair makes `rows_per_pair` rows."""

    training: KernelTraining
    rows_per_pair: int
    evaluation: Mapping[str, EvaluationKernel]
    projection: RandomProjection


def read_kernels(
    reader: FeatureReader,
    training: Sequence[Tree],
    evaluation: Mapping[str, Sequence[Tree]],
    folder: Path,
    identity: str,
) -> dict[str, KindKernels]:
    """Return the kernels of every kind of a reader, from the cache folder where it has them.

    Their `identity` is what they depend on beside reader and trees: weights, precision, β.

    Raises:
        UserError: If the model cannot read a record.
    """
    reader.model.check_readable(chain(training, *evaluation.values()))
    settings = (FORMAT, version("rewardgap"), identity, reader.name, content_of(training))
    bases = cache(partial(_read_bases, reader, training))
    trainings = _cached(
        folder / cache_key(*settings),
        KernelTraining,
        lambda: {kind: basis.training() for kind, basis in bases().items()},
    )
    sets = {
        name: _cached(
            folder / cache_key(*settings, content_of(trees)),
            EvaluationKernel,
            partial(_evaluate, reader, trees, bases),
        )
        for name, trees in evaluation.items()
    }
    return {
        kind: KindKernels(
            trainings[kind],
            1 + model.pointwise,
            {name: kernels[kind] for name, kernels in sets.items()},
            reader.projections[kind],
        )
        for kind, model in reader.models.items()
    }


class Basis:
    """One kind's features of the training rows, and then its test vectors.

    A training row is what training raises: a score difference, chosen minus rejected, or for a kind
    with a pointwise loss the score of a chosen response and minus that of a rejected one. Responses
    of the indices `tested` have test vectors.
    """

    def __init__(
        self, trees: Sequence[Tree], pointwise: bool, tested: range, projection: RandomProjection
    ):
        self.of_responses = _lengths(trees)
        self.signs = list(_row_signs(trees, pointwise))
        rows = sum(tree.pair_count for tree in trees) * (1 + pointwise)
        self.initial, self.lengths = np.zeros(rows), np.zeros(rows)
        self.tokens = max(1.0, self.of_responses[tested].sum())
        self.noise = projection.noise
        self.vectors = torch.zeros(rows + len(tested), projection.size)
        self.filled = rows

    def add(self, indices: Sequence[int], features: Features) -> None:
        """Add some responses and the test vectors among them."""
        scores = features.scores.tolist()
        for index, value, score in zip(indices, features.values, scores, strict=True):
            for row, sign in self.signs[index]:
                self.vectors[row].add_(value, alpha=sign)
                self.initial[row] += sign * score
                self.lengths[row] += sign * self.of_responses[index]
        end = self.filled + len(features.test_vectors)
        self.vectors[self.filled : end] = features.test_vectors
        self.filled = end

    def training(self) -> KernelTraining:
        """Return the training, once all responses have been added."""
        kernel, rows = products(self.vectors, self.vectors), len(self.initial)
        noise = self.noise * kernel.diagonal()[rows:].sum()
        counts = np.ones(rows)
        return KernelTraining(kernel, self.initial, self.lengths, self.tokens, noise, counts)


def _row_signs(trees: Sequence[Tree], pointwise: bool) -> Iterator[list[tuple[int, int]]]:
    """Yield, for every response, the rows that it is part of, with its sign there."""
    shift = sum(tree.pair_count for tree in trees) if pointwise else 0
    row = 0
    for tree in trees:
        signs: list[list[tuple[int, int]]] = [[] for _ in tree.leaves]
        for chosen, rejected in tree.pairs:
            signs[chosen].append((row, 1))
            signs[rejected].append((row + shift, -1))
            row += 1
        yield from signs


def _lengths(trees: Sequence[Tree]) -> Array:
    """Return (R,) tokens of all responses at which the scores of a pair may drift apart."""
    lengths = [len(tree.nodes[leaf]) - 1 for tree in trees for leaf in tree.leaves]
    return np.array(lengths, dtype=np.float64)


def _read_bases(reader: FeatureReader, trees: Sequence[Tree]) -> dict[str, Basis]:
    """Read the basis vectors of every kind."""
    tested = tested_responses(sum(len(tree.leaves) for tree in trees))
    bases = {}
    for kind, model in reader.models.items():
        vectors = tested if kind in reader.projected else range(0)
        bases[kind] = Basis(trees, model.pointwise, vectors, reader.projections[kind])
    for indices, features in reader.batches(trees):
        for kind, of_kind in features.items():
            bases[kind].add(indices, of_kind)
    return bases


def _evaluate(
    reader: FeatureReader, trees: Sequence[Tree], bases: Callable[[], Mapping[str, Basis]]
) -> dict[str, EvaluationKernel]:
    """Read an evaluation set; nothing is held of its responses but products."""
    order: list[int] = []
    parts: dict[str, list[tuple[Array, Array, Array, float]]] = {kind: [] for kind in reader.models}
    for indices, features in reader.batches(trees):
        order += indices
        for kind, of_kind in features.items():
            vectors, tested = bases()[kind].vectors, of_kind.test_vectors
            kernels = products(of_kind.values, vectors), products(tested, vectors)
            square = float(tested.double().square().sum())
            parts[kind].append((*kernels, of_kind.scores.double().numpy(), square))
    lengths, in_order = _lengths(trees), np.argsort(order)
    tokens = max(1.0, lengths[tested_responses(len(lengths))].sum())
    evaluation = {}
    for kind, blocks in parts.items():
        kernel, test_vectors, scores, squares = zip(*blocks, strict=True)
        evaluation[kind] = EvaluationKernel(
            kernel=np.concatenate(kernel)[in_order],
            test_vectors=np.concatenate(test_vectors),
            scores=np.concatenate(scores)[in_order],
            lengths=lengths,
            tokens=tokens,
            noise=reader.projections[kind].noise * sum(squares),
        )
    return evaluation


Kernel = TypeVar("Kernel", KernelTraining, EvaluationKernel)


def _cached(
    path: Path, cls: type[Kernel], compute: Callable[[], Mapping[str, Kernel]]
) -> dict[str, Kernel]:
    """Return every kind's kernel of a training or of an evaluation set, cached as one file."""

    def flat() -> dict[str, Any]:
        kernels = compute().items()
        return {f"{kind}.{name}": x for kind, k in kernels for name, x in vars(k).items()}

    arrays = cached_arrays(path.with_suffix(".safetensors"), flat)
    kinds: dict[str, dict[str, Any]] = {}
    for key, value in arrays.items():
        kind, _, name = key.rpartition(".")
        kinds.setdefault(kind, {})[name] = value if value.ndim else float(value)
    return {kind: cls(**fields) for kind, fields in kinds.items()}
