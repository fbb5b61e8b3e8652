"""How a language model reads packs: all sequences in one pass, or every one by itself."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from rewardgap.models.packing import Layout, Pack


@dataclass(frozen=True)
class Reading(ABC):
    """A way to compute the hidden states of packs.

    Attributes:
        limit: Number of tokens beyond which rotary embeddings depend on the length of a sequence,
            so that a prompt is not the same before a long and a short response. None: no limit.
    """

    limit: int | None = None

    def prepare(self, pack: Pack) -> Pack:
        """Return a pack of the same responses, each with a prompt to itself where that matters."""
        if self.limit is None or _longest(pack.layout) <= self.limit:
            return pack
        return _unshare(pack)

    @abstractmethod
    def states(
        self, model: PreTrainedModel, pack: Pack, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """Return (N, D) final hidden states; at `positions` alone they need be right, if given."""


@dataclass(frozen=True)
class TreeReading(Reading):
    """Read a pack in one pass, with attention along its trees.

    A pack with a sequence beyond the limit is read sequence by sequence.

    Attributes:
        last_mlp: Whether the last feed-forward network may compute the positions read alone.
    """

    last_mlp: bool = True

    def states(
        self, model: PreTrainedModel, pack: Pack, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the states of one forward pass over the row."""
        if self.limit is not None and _longest(pack.layout) > self.limit:
            return PlainReading().states(model, pack, positions)
        with _last_mlp_at(model, positions if self.last_mlp else None):
            output = body_of(model)(
                input_ids=pack.tokens[None],
                position_ids=pack.positions[None],
                use_cache=False,
                layout=pack.layout,
                segments=pack.segments,
            )
        return cast(torch.Tensor, output.last_hidden_state[0])


@dataclass(frozen=True)
class PlainReading(Reading):
    """Read every sequence of a pack by itself, as plain transformers does: slower, always right.

    The states of a prompt are those of its first response; for causal models they are alike.
    """

    def states(
        self, model: PreTrainedModel, pack: Pack, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the states of as many forward passes as the pack has sequences."""
        nodes = pack.tokens.split(pack.layout.lengths)
        pieces: dict[int, torch.Tensor] = {}
        for path in _sequences(pack.layout):
            states = self.of_sequence(model, torch.cat([nodes[i] for i in path]))
            lengths = [pack.layout.lengths[i] for i in path]
            for node, piece in zip(path, states.split(lengths), strict=True):
                pieces.setdefault(node, piece)
        return torch.cat([pieces[node] for node in range(len(nodes))])

    def of_sequence(self, model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
        """Return (T, D) final hidden states of a sequence of (T,) tokens."""
        output = read_sequences(model, body_of(model), tokens[None])
        return cast(torch.Tensor, output.last_hidden_state[0])


@dataclass(frozen=True)
class LogitsReading(PlainReading):
    """Read every sequence by a whole classification model, whichever tokens it looks at and how.

    The "states" of all tokens of a sequence are the model's logits, so that D is their number.
    """

    def of_sequence(self, model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of a sequence of (T,) tokens, T times."""
        logits = read_sequences(model, model, tokens[None]).logits
        return cast(torch.Tensor, logits).expand(len(tokens), -1)


def read_sequences(model: PreTrainedModel, part: nn.Module, tokens: torch.Tensor) -> Any:
    """Return what `part`, the model or its body, gives for (B, T) tokens without padding."""
    _forget_longer_sequences(model)
    parameters = inspect.signature(part.forward).parameters.values()
    takes_cache = any(p.name == "use_cache" or p.kind is p.VAR_KEYWORD for p in parameters)
    return part(input_ids=tokens, **({"use_cache": False} if takes_cache else {}))


def body_of(model: PreTrainedModel) -> nn.Module:
    """Return the part of a model that gives hidden states, without its output layer or head."""
    body = model.base_model
    return cast(nn.Module, getattr(model, "model", model)) if body is model else body


def layers_of(model: PreTrainedModel) -> Sequence[nn.Module]:
    """Return the transformer blocks in order, or nothing for a model of another form."""
    return list(getattr(body_of(model), "layers", None) or [])


def matrices_of_blocks(model: PreTrainedModel) -> list[nn.Parameter]:
    """Return the weights of the linear layers of the transformer blocks.

    Subclasses of such layers, such as routers, are left out: they may use their weights otherwise.
    """
    stacks = (part for part in body_of(model).modules() if isinstance(part, nn.ModuleList))
    linear = {
        id(module): cast(nn.Parameter, module.weight)
        for stack in stacks
        for module in stack.modules()
        if type(module) is nn.Linear
    }
    return list(linear.values())


def _sequences(layout: Layout) -> Iterator[tuple[int, ...]]:
    """Yield the nodes of every sequence of a pack, from the root to a leaf."""
    inner = set(chain.from_iterable(layout.ancestors))
    for node, above in enumerate(layout.ancestors):
        if node not in inner:
            yield (*above, node)


def _longest(layout: Layout) -> int:
    """Return the number of tokens of a pack's longest sequence."""
    return max(sum(layout.lengths[node] for node in path) for path in _sequences(layout))


def _forget_longer_sequences(model: PreTrainedModel) -> None:
    """Reset dynamic rotary embeddings, which stay at the longest sequence they have seen."""
    for module in model.modules():
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            prefix = name.removesuffix("max_seq_len_cached")
            original = getattr(module, f"{prefix}original_inv_freq", None)
            current = getattr(module, f"{prefix}inv_freq", None)
            if original is None or current is None:
                continue
            setattr(module, name, cast(Any, module).original_max_seq_len)
            module.register_buffer(
                f"{prefix}inv_freq", original.to(current.device, copy=True), persistent=False
            )


def _unshare(pack: Pack) -> Pack:
    """Return a pack of one node a sequence, in the order of the responses."""
    ends = list(accumulate(pack.layout.lengths))
    paths = list(_sequences(pack.layout))
    index = [
        i for path in paths for n in path for i in range(ends[n] - pack.layout.lengths[n], ends[n])
    ]
    lengths = [sum(pack.layout.lengths[node] for node in path) for path in paths]
    responses = [
        range(end - pack.layout.lengths[path[-1]], end)
        for end, path in zip(accumulate(lengths), paths, strict=True)
    ]
    device, layout = pack.tokens.device, Layout(tuple(lengths), ((),) * len(lengths))
    taken = torch.tensor(index, device=device)
    read = torch.tensor([*chain.from_iterable(responses)], device=device)
    return replace(
        pack,
        tokens=pack.tokens[taken],
        positions=pack.positions[taken],
        layout=layout,
        segments=None if pack.segments is None else layout.segments(device),
        response_positions=read,
        predicting_positions=read - 1,
    )


@contextmanager
def _last_mlp_at(model: PreTrainedModel, positions: torch.Tensor | None) -> Iterator[None]:
    """Run the last layer's feed-forward network at `positions` alone; nothing else is read.

    It is left out for models whose layers have another form, and for those that compute
    activations again in the backward pass.
    """
    layers = layers_of(model)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    if positions is None or mlp is None or model.is_activation_checkpointing:
        yield
        return
    tokens = 0

    def select(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        nonlocal tokens
        tokens = inputs[0].shape[1]
        return inputs[0][:, positions]

    def scatter(_: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        row = output.new_zeros(1, tokens, output.shape[-1])
        return row.index_copy(1, positions, output)

    with mlp.register_forward_pre_hook(select), mlp.register_forward_hook(scatter):
        yield
