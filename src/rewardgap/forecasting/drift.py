"""How far each response drifts, measured once and without sketches where all parameters learn.

Probes tell at what rate the responses of a data set drift on average, and a rate times a length is
a response's drift only if its tokens are like all others. Here the logits themselves are moved: a
step to either side along the weights w that training has reached gives the change δ of the logits
at every place, and the drift of a response, ½ β Σ_k Var δ_k, follows place by place.

That is the second order of β Σ_k (ln Σ_v π_v e^δ − Σ_v π_v δ), which is what normalising takes from
ln π when logits move by δ. Where steps are so long that the two differ, the set's rate is kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Points
from rewardgap.dynamics.readouts import Readout
from rewardgap.forecasting.features import Array
from rewardgap.forecasting.passes import Reader
from rewardgap.forecasting.problem import Data, Problem
from rewardgap.io.progress import progress
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.language_model import CHUNK_VALUES
from rewardgap.models.packing import Pack, micro_batches, pack

# By how many nats a step along w moves the log-ratio of a training pair: logits are close to
# linear over such a distance, and their changes are far above rounding.
STEP = 0.3

# Measured drifts are used if the second order is at most so many times what normalising takes. It
# is 1.0 times on sets where own drift helps, and 3.7 times on one where it misleads.
FAR = 2.0


def weigh_by_own_drift(
    problem: Problem, point: Points, readout: Readout, reader: Reader, data: Data
) -> Problem:
    """Let every evaluation response drift as it does at one point of the training.

    At other points its drift grows and falls with the rate of its set. A problem is returned as it
    is if its kind does not drift, if nothing has been learned at the point, or if the point is too
    far for the second order.

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
    line = _line(readout, reader, list(data.training(readout.model)), rows)
    found = {
        name: own_drifts(readout, reader, data.held_out_trees(readout.model, name), line)
        for name in problem.held_out
    }
    variance, loss = sum(each.sum(axis=1) for each in found.values())
    if variance > FAR * loss:
        return problem
    held_out = {
        name: each.drifting(found[name][0], point) for name, each in problem.held_out.items()
    }
    return replace(problem, held_out=held_out)


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


def _line(readout: Readout, reader: Reader, trees: Sequence[Tree], rows: Tensor) -> Line:
    """The line along the weights that training rows of some weight give."""
    direction = _direction(readout, reader, trees, rows)
    square = sum(float(change.double().square().sum()) for change in direction)
    # Along w the margins, weighted by the |rows|, grow at the rate |w|².
    step = STEP * readout.model.beta * float(rows.abs().sum()) / square
    return Line(list(readout.model.model.parameters()), direction, step)


def _direction(
    readout: Readout, reader: Reader, trees: Sequence[Tree], rows: Tensor
) -> list[Tensor]:
    """The float32 gradient, in all of the model's parameters, of a weighted sum of margins."""
    parameters = list(readout.model.model.parameters())
    total = [torch.zeros_like(each, dtype=torch.float32) for each in parameters]
    by_tree = rows.float().split([tree.pair_count for tree in trees])
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
def own_drifts(readout: Readout, reader: Reader, trees: Sequence[Tree], line: Line) -> Array:
    """Twice the drift of every response, summed over its places but the first.

    At their first place the responses to a prompt have the same state: what they lose there
    cancels in every margin.

    Args:
        readout: of a kind that drifts.
        reader: how packs are read.
        trees: the evaluation records.
        line: where the model goes.

    Returns:
        (2, R) for the leaves of `trees`, in order: β Σ Var δ, and 2 β times what normalising takes.
    """
    sides = line.sides()
    by_tree: dict[int, Tensor] = {}
    for group, batch in _packs(reader, trees, "reading drifts"):
        found = _doubled(readout, batch, line, sides).cpu()
        by_tree |= zip(group, found.split([len(trees[i].leaves) for i in group], 1), strict=True)
    ordered = torch.cat([by_tree[i] for i in range(len(trees))], 1)
    return readout.model.beta * ordered.double().numpy()


def _doubled(
    readout: Readout, batch: Pack, line: Line, sides: tuple[list[Tensor], list[Tensor]]
) -> Tensor:
    """(2, L) `own_drifts` of the leaves of a pack, before β."""
    vocabulary = readout.model.vocabulary
    both = []
    for weights in sides:
        with line.at(weights):
            leaves = readout.model.read(batch)
            both.append(
                leaves.predicting_states.split(
                    max(1, CHUNK_VALUES // vocabulary.layer.out_features)
                )
            )
    found = []
    for states in zip(*both, strict=True):
        logits = []
        for weights, some in zip(sides, states, strict=True):
            with line.at(weights):
                logits.append(vocabulary.logits(some))
        found.append(
            _at_places((logits[0] + logits[1]) / 2, (logits[0] - logits[1]) / (2 * line.step))
        )
    return torch.stack([_after_the_first(each, leaves) for each in torch.cat(found, 1)])


def _at_places(logits: Tensor, change: Tensor) -> Tensor:
    """(2, N) Var δ, and 2 (ln Σ π e^δ − Σ π δ), for (N, V) logits and their changes δ."""
    log_chances = logits.log_softmax(-1)
    chances = log_chances.exp()
    change = change - (chances * change).sum(-1, keepdim=True)
    variance = (chances * change.square()).sum(-1)
    return torch.stack([variance, 2 * (log_chances + change).logsumexp(-1)])


def _after_the_first(values: Tensor, leaves: ResponseStates) -> Tensor:
    """(L,) sums of (R,) values over all places of each leaf but its first."""
    counted = values.clone()
    counted[leaves.last_tokens + 1 - leaves.pack.response_lengths] = 0
    return leaves.total(counted)


def _packs(reader: Reader, trees: Sequence[Tree], doing: str) -> Iterator[tuple[list[int], Pack]]:
    """The numbers of some trees, and a pack of them, till all are read."""
    for group in progress(micro_batches(trees, reader.token_budget, reader.device), doing):
        yield group, pack([trees[i] for i in group]).to(reader.device)
