"""Training and evaluation of a kind, as kernels see them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from rewardgap.errors import UserError
from rewardgap.forecast.features import Array, Features, concatenate, kernel
from rewardgap.forecast.passes import Pass, Reader
from rewardgap.records import Record
from rewardgap.trees import Tree

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation set of R responses.

    Attributes:
        kernel: (R, N) inner products of their features with those of the training rows.
        scores: (R,) their scores before training.
    """

    kernel: Array
    scores: Array


@dataclass(frozen=True)
class Problem:
    """One kind's training and evaluation.

    A training row is what training raises: a score difference, chosen minus rejected, or for a kind
    that judges responses singly the score of a chosen response and minus that of a rejected one.

    Attributes:
        kernel: (N, N) inner products of the training rows' features.
        initial: (N,) the rows before training.
        rows_per_pair: how many rows a pair makes.
        held_out: the evaluation sets by name.
    """

    kernel: Array
    initial: Array
    rows_per_pair: int
    held_out: Mapping[str, Evaluation]

    def __add__(self, other: "Problem") -> "Problem":
        """The same problem with the features of both."""
        held_out = {
            name: Evaluation(each.kernel + other.held_out[name].kernel, each.scores)
            for name, each in self.held_out.items()
        }
        total = self.kernel + other.kernel
        return Problem(total, self.initial, self.rows_per_pair, held_out)


@dataclass(frozen=True)
class Data:
    """The records of a forecast.

    Attributes:
        training: the training records.
        held_out: the evaluation records by name.
        max_length: truncate sequences to so many tokens; None leaves them whole.
    """

    training: Sequence[Record]
    held_out: Mapping[str, Sequence[Record]]
    max_length: int | None


def pose(passes: Sequence[Pass], reader: Reader, data: Data) -> dict[str, Problem]:
    """Go over the data and pose every kind's problem.

    Raises:
        UserError: the model cannot read a record, or truncation leaves nothing to train on.
    """
    problems: dict[str, Problem] = {}
    for over in passes:
        for kind, problem in _pose(over, reader, data).items():
            problems[kind] = problems[kind] + problem if kind in problems else problem
    return problems


def _pose(over: Pass, reader: Reader, data: Data) -> dict[str, Problem]:
    encode = partial(over.model.encode, max_length=data.max_length)
    training = _training_trees(encode(data.training))
    held_out = {name: encode(some) for name, some in data.held_out.items()}
    over.model.check_readable(tree for trees in (training, *held_out.values()) for tree in trees)
    singly = {kind: readout.judges_singly for kind, readout in over.readouts.items()}
    rows = {
        kind: _rows(features, training, singly[kind])
        for kind, features in reader.features(over, training).items()
    }
    evaluations: dict[str, dict[str, Evaluation]] = {kind: {} for kind in rows}
    for name, trees in held_out.items():
        for kind, features in reader.features(over, trees).items():
            found = Evaluation(kernel(features, rows[kind]), _numpy(features.scores))
            evaluations[kind][name] = found
    return {
        kind: Problem(
            kernel(each, each),
            _numpy(each.scores),
            1 + singly[kind],
            evaluations[kind],
        )
        for kind, each in rows.items()
    }


def _training_trees(trees: Sequence[Tree]) -> list[Tree]:
    """The trees without those in which truncation has made chosen and rejected identical."""
    kept = [tree for tree in trees if not tree.has_identical_pair]
    if not kept:
        raise UserError("max_length leaves no pair that differs to train on; raise it")
    if len(kept) < len(trees):
        logger.warning(
            "%d training records left out: identical once truncated", len(trees) - len(kept)
        )
    return kept


def _rows(features: Features, trees: Sequence[Tree], judges_singly: bool) -> Features:
    """The training rows of all pairs, from the features of all responses."""
    starts = np.cumsum([0] + [tree.chosen + tree.rejected for tree in trees])
    pairs = [(s + i, s + j) for s, tree in zip(starts, trees, strict=False) for i, j in tree.pairs]
    chosen, rejected = (features.pick(some) for some in torch.tensor(pairs).unbind(1))
    return concatenate([chosen, -rejected]) if judges_singly else chosen - rejected


def _numpy(scores: torch.Tensor) -> Array:
    return scores.double().numpy()
