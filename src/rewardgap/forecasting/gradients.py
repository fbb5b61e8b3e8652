"""The forecast's second level: all parameters learn, along the tangent kernel of the initial model.

Every response's score is differentiated in every parameter, by one backward pass over many
responses at once. Responses never interact, so that the gradient of a linear layer in one of them
is the sum over its own tokens of (gradient of the output)(input)ᵀ. It is written out, sketched and
forgotten, one layer and response at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from rewardgap.data.trees import Tree
from rewardgap.dynamics.projection import GradientProjector, Limits
from rewardgap.dynamics.readouts import Readout
from rewardgap.errors import UserError
from rewardgap.forecasting.features import Features
from rewardgap.forecasting.passes import Amount, Pass
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.packing import Pack

Keepers = Mapping[nn.Parameter, GradientProjector]
Hook = Callable[..., Tensor | None]


@dataclass(frozen=True)
class Gradients(Pass):
    """A backward pass for one kind.

    Attributes:
        keepers: what is kept of those in every parameter.
    """

    at_once = 8
    held = torch.bfloat16  # over so many entries rounding averages out

    keepers: Keepers

    def lay_out(self, trees: Sequence[Tree]) -> list[Tree]:
        """One tree a response: gradients in a shared prompt could not be told apart."""
        return [response for tree in trees for response in _split(tree)]

    def read(self, batch: Pack, probed: Sequence[int]) -> dict[str, Features]:
        """Features of the responses of a pack of trees with one leaf each."""
        ((kind, readout),) = self.readouts.items()
        nodes = batch.layout.lengths
        lengths = [root + leaf for root, leaf in zip(nodes[::2], nodes[1::2], strict=True)]
        device = readout.head.device
        values = torch.zeros(len(lengths), self.sketch.size, device=device)
        probes = values.new_zeros(readout.drifts * len(probed), self.sketch.size)
        targets = dict(zip(probed, probes, strict=False))
        with torch.enable_grad(), _watch(self.model.model, self.keepers, lengths) as sums:
            leaves = self.model.read(batch)
            sums.totals = dict(enumerate(values))
            readout.scores(leaves).sum().backward(retain_graph=True)
            if targets:
                sums.totals = targets
                readout.fluctuations(leaves, probed).sum().backward()
        with torch.no_grad():
            leaves = ResponseStates(leaves.hidden.detach(), batch)
            scores = readout.last_layer(leaves, self.keepers[readout.head], values, targets)
        return {kind: Features(values, scores, probes)}


def gradient_passes(
    readouts: Mapping[str, Readout], limits: Limits, data: Amount
) -> Iterator[Gradients]:
    """A pass for every kind.

    Args:
        readouts: of the kinds.
        limits: of the sketches.
        data: how much training data there is.
    """
    for kind, readout in readouts.items():
        yield _pass(kind, readout, limits, data)


def _pass(kind: str, readout: Readout, limits: Limits, data: Amount) -> Gradients:
    """The head comes last, unless it is tied to the input embedding.

    Raises:
        UserError: the output layer has more than its weights.
    """
    model = readout.model.model
    parameters = list(dict.fromkeys([*model.base_model.parameters(), readout.head]))
    if others := [name for name, each in model.named_parameters() if each not in set(parameters)]:
        raise UserError(
            f"the model's {others[0]} is a parameter whose gradient is not known here: "
            "use level last-layer"
        )
    sizes = [each.numel() for each in parameters]
    sketch = limits.sketch(sum(sizes), Gradients.bytes_per_value(readout, data))
    starts = accumulate(sizes, initial=0)
    keepers = {
        each: sketch.keeper(each.shape, start, readout.head.device)
        for each, start in zip(parameters, starts, strict=False)
    }
    return Gradients({kind: readout}, f"gradients {sketch} {kind}", sketch, keepers)


def _split(tree: Tree) -> Iterator[Tree]:
    for leaf, length in zip(tree.leaves, tree.lengths, strict=True):
        nodes = (tree.nodes[0], tree.nodes[leaf])
        yield replace(tree, nodes=nodes, parents=(-1, 0), chosen=1, rejected=0, lengths=(length,))


@dataclass
class _Sums:
    """Collects, parameter by parameter, what is kept of the gradients of responses.

    Attributes:
        keepers: of the parameters.
        lengths: tokens of every response with its prompt.
        totals: for every response that is differentiated the (W,) vector to add to.
    """

    keepers: Keepers
    lengths: list[int]
    totals: Mapping[int, Tensor]

    def add(self, parameter: nn.Parameter, first: Tensor, second: Tensor) -> None:
        """Add a matrix's gradient, the outer products of the rows of both arguments."""
        self._add(self.keepers[parameter].outer, first, second)

    def add_rows(self, parameter: nn.Parameter, rows: Tensor, values: Tensor) -> None:
        """Add a matrix's gradient, which is values[t] in row rows[t]."""
        self._add(self.keepers[parameter].rows, rows, values)

    def add_vector(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Add the (N, D) gradient of a vector, one row a token."""
        self.add(parameter, gradient.new_ones(len(gradient), 1), gradient)

    def _add(
        self, keep: Callable[[Tensor, Tensor, Tensor], None], first: Tensor, second: Tensor
    ) -> None:
        responses = list(zip(first.split(self.lengths), second.split(self.lengths), strict=True))
        for number, total in self.totals.items():
            keep(total, *responses[number])


@contextmanager
def _watch(model: PreTrainedModel, keepers: Keepers, lengths: list[int]) -> Iterator["_Sums"]:
    """Collect projected gradients of everything that is computed and differentiated inside.

    Raises:
        UserError: the model has a layer whose gradient is not known here.
    """
    sums = _Sums(keepers, lengths, {})
    with ExitStack() as stack:
        for name, module in model.base_model.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                hook = partial(_when_watched, _layer(name, module), sums)
                stack.callback(module.register_forward_hook(hook).remove)
        for parameter in model.parameters():  # spares gradients that nobody asks for
            if parameter.requires_grad:
                stack.callback(parameter.requires_grad_(False).requires_grad_)
        yield sums


def _when_watched(
    hook: Hook, sums: _Sums, module: nn.Module, inputs: tuple[Tensor], output: Tensor
) -> Tensor | None:
    """Call a hook, except for the functional calls with other parameters that hooks make."""
    parameter = next(module.parameters(recurse=False))
    return hook(module, inputs, output, sums) if parameter in sums.keepers else None


def _layer(name: str, module: nn.Module) -> Hook:
    for kind, hook in HOOKS.items():
        if isinstance(module, kind):
            return hook
    if all(parameter.ndim == 1 for parameter in module.parameters(recurse=False)):
        return _scale
    raise UserError(
        f"the model's {name} is a {type(module).__name__}, whose gradient is not known here: "
        "use level last-layer"
    )


def _linear(module: nn.Linear, inputs: tuple[Tensor], output: Tensor, sums: _Sums) -> None:
    """Y = W x + b."""
    read = _flat(inputs[0].detach())

    def backward(gradient: Tensor) -> None:
        sums.add(cast(nn.Parameter, module.weight), _flat(gradient), read)
        if module.bias is not None:
            sums.add_vector(module.bias, _flat(gradient))

    output.register_hook(backward)


def _embedding(module: nn.Embedding, inputs: tuple[Tensor], output: Tensor, sums: _Sums) -> Tensor:
    """Y = a row of the weights, times what the model scales it by."""
    with torch.no_grad():
        ones = torch.ones_like(module.weight)
        scale = _flat(functional_call(module, {"weight": ones}, inputs))

    def backward(gradient: Tensor) -> None:
        sums.add_rows(
            cast(nn.Parameter, module.weight), inputs[0].flatten(), _flat(gradient) * scale
        )

    output.requires_grad_()
    output.register_hook(backward)
    return output


def _scale(module: nn.Module, inputs: tuple[Tensor], output: Tensor, sums: _Sums) -> None:
    """A normalisation, of states or of heads: linear in each of its vectors, given its input."""
    parameters = dict(module.named_parameters(recurse=False))
    zeros = {name: torch.zeros_like(value) for name, value in parameters.items()}
    slopes = {}
    with torch.no_grad():
        least = functional_call(module, zeros, inputs)
        for name, value in parameters.items():
            raised = functional_call(module, zeros | {name: torch.ones_like(value)}, inputs)
            slopes[value] = raised - least
    axis = token_axis(inputs[0], sum(sums.lengths))

    def backward(gradient: Tensor) -> None:
        for parameter, slope in slopes.items():
            by_token = (gradient * slope).movedim(axis, 0).flatten(1, -2)
            sums.add_vector(parameter, by_token.sum(1, dtype=torch.float32))

    output.register_hook(backward)


def token_axis(values: Tensor, tokens: int) -> int:
    """The axis of the N tokens in (1, N, D), (1, N, heads, D) or (1, heads, N, D) values.

    With as many heads it is the one whose neighbours lie further apart: heads split states.
    """
    axes = range(1, values.ndim - 1)
    return max(axes, key=lambda axis: (values.shape[axis] == tokens, values.stride(axis)))


def _flat(values: Tensor) -> Tensor:
    """(…, D) as (N, D)."""
    return values.flatten(0, -2)


HOOKS: dict[type[nn.Module], Hook] = {
    nn.Linear: _linear,
    nn.Embedding: _embedding,
}
