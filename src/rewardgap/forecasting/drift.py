"""How far each response drifts, measured once and without sketches where all parameters learn.

Probes tell at what rate the responses of a data set drift on average, and a rate times a length is
a response's drift only if its tokens are like all others. Here the logits themselves are moved: a
step to either side along the weights w that training has reached gives the change δ of the logits
at every place, and the drift of a response, ½ β Σ_k Var δ_k, follows place by place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rewardgap.backbone import CHUNK_VALUES
from rewardgap.forecasting.curve import Points
from rewardgap.forecasting.evaluation import Evaluation
from rewardgap.forecasting.features import Array
from rewardgap.forecasting.passes import Reader
from rewardgap.forecasting.problem import Data, Problem, training_trees
from rewardgap.forecasting.readouts import Readout
from rewardgap.kinds.reward_model import Leaves
from rewardgap.progress import progress
from rewardgap.trees import Pack, Tree, micro_batches, pack

# By how many nats a step along w moves the log-ratio of a training pair: logits are close to
# linear over such a distance, and their changes are far above rounding.
STEP = 0.3


def weigh_by_own_drift(
    problem: Problem, point: Points, readout: Readout, reader: Reader, data: Data
) -> Problem:
    """Let every evaluation response drift as it does at one point of the training.

    At other points its drift grows and falls with the rate of its set. A problem of a kind without
    drift, or at a point where nothing has been learned, is returned as it is.

    Args:
        problem: what training and evaluation are.
        point: the point, P = 1. The share of probes in its weights is small, and is left out.
        readout: the kind's read-out.
        reader: how packs are read.
        data: the records.
    """
    rows = torch.from_numpy(point.weights[0, : len(problem.training.initial)])
    if not (readout.drifts and rows.any()):
        return problem
    model = readout.model
    direction = _direction(readout, reader, training_trees(model, data), rows)
    square = sum(float(change.double().square().sum()) for change in direction)
    # Along w the margins, weighted by the |rows|, grow at the rate |w|².
    step = STEP * model.beta * float(rows.abs().sum()) / square
    line = Line(list(model.model.parameters()), direction, step)

    def weigh(evaluation: Evaluation, trees: Sequence[Tree]) -> Evaluation:
        return evaluation.drifting(variances(readout, reader, trees, line), point)

    return replace(
        problem,
        held_out={
            name: weigh(each, data.held_out_trees(model, name))
            for name, each in problem.held_out.items()
        },
    )


@dataclass(frozen=True)
class Line:
    """Weights of a model along a direction.

    Attributes:
        parameters: those of the model.
        direction: float32 changes of all of them, w.
        step: how far to go to either side, as a multiple of w.
    """

    parameters: Sequence[nn.Parameter]
    direction: Sequence[Tensor]
    step: float

    def sides(self) -> tuple[list[Tensor], list[Tensor]]:
        """The float32 weights a step forward and a step back."""
        moves = [
            (each.detach().float(), self.step * change)
            for each, change in zip(self.parameters, self.direction, strict=True)
        ]
        return [old + move for old, move in moves], [old - move for old, move in moves]

    @contextmanager
    def at(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Let the model have other weights; its own are never touched, and are back afterwards."""
        own = [each.data for each in self.parameters]
        try:
            for each, value in zip(self.parameters, weights, strict=True):
                each.data = value
            yield
        finally:
            for each, value in zip(self.parameters, own, strict=True):
                each.data = value


def _direction(
    readout: Readout, reader: Reader, trees: Sequence[Tree], rows: Tensor
) -> list[Tensor]:
    """The float32 gradient, in all of the model's parameters, of a weighted sum of margins."""
    parameters = list(readout.model.model.parameters())
    total = [torch.zeros_like(each, dtype=torch.float32) for each in parameters]
    by_tree = rows.float().split([tree.chosen * tree.rejected for tree in trees])
    for group, batch in _packs(reader, trees, "reading the drift's direction"):
        weights = torch.cat([by_tree[i] for i in group]).to(reader.device)
        with torch.enable_grad():
            scores = readout.scores(readout.model.read(batch))
            margins = scores[batch.chosen] - scores[batch.rejected]
            found = torch.autograd.grad(
                weights @ margins.float(), parameters, materialize_grads=True
            )
        for sum_, gradient in zip(total, found, strict=True):
            sum_.add_(gradient)
    return total


@torch.no_grad()
def variances(readout: Readout, reader: Reader, trees: Sequence[Tree], line: Line) -> Array:
    """Twice the drift of every response: β times the sum of Var δ over its places but the first.

    At their first place the responses to a prompt have the same state: what they lose there
    cancels in every margin.

    Args:
        readout: of a kind that drifts.
        reader: how packs are read.
        trees: the evaluation records.
        line: where the model goes.

    Returns:
        (R,) for the leaves of `trees`, in order.
    """
    sides = line.sides()
    by_tree: dict[int, Tensor] = {}
    for group, batch in _packs(reader, trees, "reading drifts"):
        found = _variances(readout, batch, line, sides).cpu()
        by_tree |= zip(group, found.split([len(trees[i].leaves) for i in group]), strict=True)
    ordered = torch.cat([by_tree[i] for i in range(len(trees))])
    return readout.model.beta * ordered.double().numpy()


def _variances(
    readout: Readout, batch: Pack, line: Line, sides: tuple[list[Tensor], list[Tensor]]
) -> Tensor:
    """(L,) sums of Var δ over the places of the leaves of a pack, where δ is per unit of w."""
    vocabulary = readout.model.vocabulary
    both = []
    for weights in sides:
        with line.at(weights):
            leaves = readout.model.read(batch)
            both.append(leaves.before.split(max(1, CHUNK_VALUES // vocabulary.layer.out_features)))
    found = []
    for states in zip(*both, strict=True):
        logits = []
        for weights, some in zip(sides, states, strict=True):
            with line.at(weights):
                logits.append(vocabulary.logits(some))
        found.append(_variance(logits[0], logits[1]) / (2 * line.step) ** 2)
    return _after_the_first(torch.cat(found), leaves)


def _variance(forward: Tensor, back: Tensor) -> Tensor:
    """(N,) variances of the difference of (N, V) logits, under the softmax of their mean."""
    change = forward - back
    chances = ((forward + back) / 2).softmax(-1)
    change -= (chances * change).sum(-1, keepdim=True)
    return (chances * change.square()).sum(-1)


def _after_the_first(values: Tensor, leaves: Leaves) -> Tensor:
    """(L,) sums of (R,) values over all places of each leaf but its first."""
    counted = values.clone()
    counted[leaves.ends + 1 - leaves.pack.leaf_lengths] = 0
    return leaves.total(counted)


def _packs(reader: Reader, trees: Sequence[Tree], doing: str) -> Iterator[tuple[list[int], Pack]]:
    """The numbers of some trees, and a pack of them, till all are read."""
    for group in progress(micro_batches(trees, reader.token_budget, reader.device), doing):
        yield group, pack([trees[i] for i in group]).to(reader.device)
