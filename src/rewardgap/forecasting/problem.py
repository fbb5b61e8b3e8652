"""Training and evaluation of a kind, as kernels see them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rewardgap.data.prepared import PreparedData
from rewardgap.data.records import Record
from rewardgap.data.tree_store import content_of
from rewardgap.data.trees import Tree
from rewardgap.dynamics.descent import Training
from rewardgap.dynamics.projection import Sketch
from rewardgap.forecasting.basis import evaluate, read_bases
from rewardgap.forecasting.evaluation import Evaluation
from rewardgap.forecasting.passes import PROBES, Pass, Reader
from rewardgap.io.cache import cache_key, cached_arrays
from rewardgap.models.kinds.trained import TrainedRewardModel

Part = TypeVar("Part", Training, Evaluation)

FORMAT = 2
"""Of the kernels that are kept; another number wherever other ones are computed."""


@dataclass(frozen=True)
class Problem:
    """One kind's training and evaluation.

    Attributes:
        training: the training rows.
        rows_per_pair: how many rows a pair makes.
        held_out: the evaluation sets by name.
        sketch: how gradients were shrunk.
    """

    training: Training
    rows_per_pair: int
    held_out: Mapping[str, Evaluation]
    sketch: Sketch


@dataclass(frozen=True)
class Data:
    """The records of a forecast.

    Attributes:
        training: the training records, as a kind writes them.
        held_out: the evaluation records by name.
        max_length: truncate evaluation records to so many tokens; None leaves them whole.
        shared: keeps the trees of evaluation records, for other work on the same data.
    """

    training: Callable[[TrainedRewardModel], Sequence[Tree]]
    held_out: Mapping[str, Sequence[Record]]
    max_length: int | None
    shared: PreparedData = field(default_factory=PreparedData)

    def held_out_trees(self, model: TrainedRewardModel, name: str) -> list[Tree]:
        """An evaluation set as a kind writes it."""
        return self.shared.encode(model, self.held_out[name], self.max_length)


@dataclass(frozen=True)
class Cache:
    """Where kernels are kept. They do not grow with the model, nor with its sketches.

    Attributes:
        folder: folder of kept kernels.
        identity: what they depend on beside a pass and its trees: weights, precision, β.
    """

    folder: Path
    identity: str

    def path(self, over: Pass, *contents: str) -> Path:
        """The file of what a pass gives on trees of some content (`content_of`)."""
        made_by = FORMAT, version("rewardgap"), self.identity, over.name, PROBES
        return self.folder / "forecast" / cache_key(made_by, contents)


def pose(passes: Iterable[Pass], reader: Reader, kernels: Cache, data: Data) -> dict[str, Problem]:
    """Go over the data and pose every kind's problem.

    Raises:
        UserError: the model cannot read a record.
    """
    problems: dict[str, Problem] = {}
    for over in passes:
        problems |= _pose(over, reader, kernels, data)
    return problems


def _pose(over: Pass, reader: Reader, kernels: Cache, data: Data) -> dict[str, Problem]:
    training = list(data.training(over.model))
    held_out = {name: data.held_out_trees(over.model, name) for name in data.held_out}
    over.model.check_readable(tree for trees in (training, *held_out.values()) for tree in trees)
    bases = cache(partial(read_bases, over, reader, training))
    learned = content_of(training)
    trainings = _kept(
        kernels.path(over, learned),
        Training,
        lambda: {kind: basis.training() for kind, basis in bases().items()},
    )
    evaluations = {
        name: _kept(
            kernels.path(over, learned, content_of(trees)),
            Evaluation,
            partial(evaluate, over, reader, trees, bases),
        )
        for name, trees in held_out.items()
    }
    return {
        kind: Problem(
            trainings[kind],
            1 + readout.judges_singly,
            {name: found[kind] for name, found in evaluations.items()},
            over.sketch_of(kind),
        )
        for kind, readout in over.readouts.items()
    }


def _kept(
    folder: Path, cls: type[Part], compute: Callable[[], Mapping[str, Part]]
) -> dict[str, Part]:
    """Every kind's part of a problem, kept as one file."""
    arrays = cached_arrays(
        folder.with_suffix(".safetensors"),
        lambda: {
            f"{kind}.{name}": value
            for kind, each in compute().items()
            for name, value in vars(each).items()
        },
    )
    kinds: dict[str, dict[str, Any]] = {}
    for key, value in arrays.items():
        kind, _, name = key.rpartition(".")
        kinds.setdefault(kind, {})[name] = value if value.ndim else float(value)
    return {kind: cls(**fields) for kind, fields in kinds.items()}
