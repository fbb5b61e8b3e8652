"""The forecast's first level: hidden states are fixed and only the last layer learns.

This is the paper's assumption 1. It takes one forward pass over the data, shared by the kinds that
write records alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardgap.dynamics.projection import GradientProjector, Limits, Sketch
from rewardgap.dynamics.readouts import Readout
from rewardgap.forecasting.features import Features
from rewardgap.forecasting.passes import Amount, Pass
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.packing import Pack

Readouts = Mapping[str, Readout]

# The time that kernels take grows with the sketch; products are right to 1 % at this size.
LARGEST_SKETCH = 2**14


@dataclass(frozen=True)
class LastLayer(Pass):
    """A forward pass.

    Attributes:
        keeper: what is kept of gradients in the output embedding; those in few rows are not shrunk.
    """

    at_once = 128

    keeper: GradientProjector

    def sketch_of(self, kind: str) -> Sketch:
        """Gradients in few rows are whole."""
        readout = self.readouts[kind]
        return Sketch.whole(readout.head.numel()) if readout.is_narrow else self.sketch

    def read(self, batch: Pack, probed: Sequence[int]) -> dict[str, Features]:
        """Every kind's features of the leaves of a pack, from one forward pass."""
        with torch.no_grad():
            leaves = self.model.read(batch, self._looks_at(batch))
            return {
                kind: self._features(each, leaves, probed) for kind, each in self.readouts.items()
            }

    def _looks_at(self, batch: Pack) -> Tensor | None:
        """Places that one kind or another looks at, each once."""
        found = [readout.positions(batch) for readout in self.readouts.values()]
        some = [places for places in found if places is not None]
        return torch.cat(some).unique() if len(some) == len(found) else None

    def _features(
        self, readout: Readout, leaves: ResponseStates, probed: Sequence[int]
    ) -> Features:
        if readout.is_narrow:
            values = readout.narrow(leaves)
            return Features(values, readout.scores(leaves), values[:0])
        values = leaves.hidden.new_zeros(
            len(leaves.last_tokens), self.sketch.size, dtype=torch.float32
        )
        probes = values.new_zeros(readout.drifts * len(probed), self.sketch.size)
        targets = dict(zip(probed, probes, strict=False))
        return Features(values, readout.last_layer(leaves, self.keeper, values, targets), probes)


def last_layer_passes(readouts: Readouts, limits: Limits, data: Amount) -> list[LastLayer]:
    """A pass for all kinds that write records alike.

    Args:
        readouts: of all kinds, on one and the same language model.
        limits: of the sketches.
        data: how much training data there is.
    """
    groups: dict[object, dict[str, Readout]] = {}
    for kind, readout in readouts.items():
        groups.setdefault(readout.model.encoding, {})[kind] = readout
    return [_pass(group, limits, data) for group in groups.values()]


def _pass(readouts: Readouts, limits: Limits, data: Amount) -> LastLayer:
    head = max((readout.head for readout in readouts.values()), key=torch.numel)
    wide = [readout for readout in readouts.values() if not readout.is_narrow]
    size = sum(LastLayer.bytes_per_value(readout, data) for readout in wide)
    entries = head.numel()
    sketch = limits.sketch(entries, size, LARGEST_SKETCH) if wide else Sketch.whole(entries)
    keeper = sketch.keeper(head.shape, 0, head.device)
    name = f"last-layer {sketch} {sorted(readouts)}"
    return LastLayer(readouts, name, sketch, keeper)
