"""Passes over the data, which give features pack by pack."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from rewardgap.data.trees import Tree
from rewardgap.dynamics.projection import Sketch
from rewardgap.dynamics.readouts import Readout
from rewardgap.forecasting.features import Features
from rewardgap.io.progress import progress
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.packing import Pack, micro_batches, pack

# Drift is a mean over a data set, for which so many of its responses are enough.
PROBES = 256


@dataclass(frozen=True)
class Pass(ABC):
    """One way over the data that gives the features of one or several kinds.

    Attributes:
        readouts: the kinds' read-outs by kind; all write records alike, on one language model.
        name: what is computed.
        sketch: how gradients are shrunk.
        at_once: responses whose features are handed on together, at most.
        held: precision in which features of the training pairs are held.
    """

    at_once: ClassVar[int]
    held: ClassVar[torch.dtype] = torch.float32

    readouts: Mapping[str, Readout]
    name: str
    sketch: Sketch

    @property
    def model(self) -> TrainedRewardModel:
        """One of the reward models, to write records and to read packs by."""
        return next(iter(self.readouts.values())).model

    def lay_out(self, trees: Sequence[Tree]) -> Sequence[Tree]:
        """The trees that are packed; their leaves are those of `trees`, in the same order."""
        return trees

    def sketch_of(self, kind: str) -> Sketch:
        """How the gradients of one of the kinds are shrunk."""
        return self.sketch

    @abstractmethod
    def read(self, batch: Pack, probed: Sequence[int]) -> dict[str, Features]:
        """Every kind's features of the leaves of a pack.

        Args:
            batch: the pack.
            probed: the leaves whose probes are wanted.
        """

    @classmethod
    def bytes_per_value(cls, readout: Readout, data: "Amount") -> int:
        """Memory that a kind's features take for each of the W values, held and read."""
        rows = data.pairs * (1 + readout.judges_singly)
        probes = readout.drifts * len(probed_responses(data.responses))
        copies = 3  # some are read while the last ones are there, which are joined from parts
        read = copies * cls.at_once * (1 + readout.drifts)
        return cls.held.itemsize * (rows + probes) + torch.float32.itemsize * read


@dataclass(frozen=True)
class Amount:
    """How much training data there is.

    Attributes:
        pairs: of a chosen and a rejected response.
        responses: of all records.
    """

    pairs: int
    responses: int

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> "Amount":
        """How much some trees are."""
        pairs = sum(tree.pair_count for tree in trees)
        return cls(pairs, sum(tree.chosen + tree.rejected for tree in trees))


def probed_responses(responses: int) -> range:
    """At most `PROBES` of the responses of a data set, evenly spread."""
    return range(0, responses, -(-responses // PROBES))


@dataclass(frozen=True)
class Reader:
    """Goes over data.

    Attributes:
        device: where the passes are computed; features are held in main memory.
        token_budget: tokens computed at once; None for as many as suit the device.
    """

    device: torch.device
    token_budget: int | None

    def packs(
        self, over: Pass, trees: Sequence[Tree]
    ) -> Iterator[tuple[list[int], dict[str, Features]]]:
        """The numbers of some responses, and every kind's features of them, till all are read.

        Few of them fit into a forward pass, and kernels with many cost little more than with few.
        """
        numbers: list[int] = []
        parts: list[dict[str, Features]] = []
        for some, found in self._read(over, trees):
            if numbers and len(numbers) + len(some) > over.at_once:
                yield numbers, _join(parts)
                numbers, parts = [], []
            numbers += some
            parts.append(found)
        yield numbers, _join(parts)

    def _read(
        self, over: Pass, trees: Sequence[Tree]
    ) -> Iterator[tuple[list[int], dict[str, Features]]]:
        """What `packs` joins."""
        trees = over.lay_out(trees)
        ends = torch.tensor([len(tree.leaves) for tree in trees]).cumsum(0).tolist()
        probed = set(probed_responses(ends[-1]))
        for group in progress(self._groups(trees, over.at_once), "reading features"):
            numbers = [n for i in group for n in range(ends[i] - len(trees[i].leaves), ends[i])]
            wanted = [place for place, number in enumerate(numbers) if number in probed]
            batch = pack([trees[i] for i in group]).to(self.device)
            yield numbers, over.read(batch, wanted)

    def _groups(self, trees: Sequence[Tree], at_once: int) -> list[list[int]]:
        """Micro-batches of at most `at_once` responses, but at least one tree, each."""
        groups: list[list[int]] = []
        for batch in micro_batches(trees, self.token_budget, self.device):
            room = 0
            for i in batch:
                if i == batch[0] or len(trees[i].leaves) > room:
                    groups.append([])
                    room = at_once
                groups[-1].append(i)
                room -= len(trees[i].leaves)
        return groups


def _join(parts: Sequence[Mapping[str, Features]]) -> dict[str, Features]:
    return {kind: Features.join([part[kind] for part in parts]) for kind in parts[0]}
