"""Processes that compute together: by default there is one alone; a launcher may start several."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import torch
from torch import distributed, nn

from rewardgap.errors import UserError, reported
from rewardgap.models.devices import choose_device

if TYPE_CHECKING:  # takes a second to import, which one process alone does without
    from accelerate import Accelerator

T = TypeVar("T")
Model = TypeVar("Model", bound=nn.Module)

PATIENCE, STEP = timedelta(hours=6), timedelta(minutes=30)
"""How long a process waits for the main one, which alone reads data for the first time, and how
long for any other at the start or within a step."""
LOST = (
    "Connection closed",
    "Connection reset",
    "connection was closed",
    "Broken pipe",
    "Timed out",
)
"""What errors of gloo say where another process has ended or does not answer."""
DIVIDERS = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""Variables by which `accelerate launch` asks for a division of the model, and who would do it."""


@dataclass(frozen=True)
class Processes:
    """The processes among which trees are divided, seen from one of them; here it is alone.

    How those of a training divide a model is in `training/parallel.py`.

    Attributes:
        rank: Which of them this process is, from 0.
        count: How many they are.
        shard: Whether each holds its part of a model's weights alone.
    """

    rank: int = 0
    count: int = 1
    shard: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def in_words(self) -> str:
        """How many they are, as the end of a phrase; nothing where this one is alone."""
        parts = ", each with a part of the weights" if self.shard else ""
        return f", {self.count} processes{parts}" if self.count > 1 else ""

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, which all have to call this, in their order."""
        return [value]

    def decide(self, decision: Callable[[], T]) -> T:
        """Return what the main process decides; all have to call this."""
        return self.gather(decision() if self.is_main else None)[0]  # pyrefly: ignore[bad-return]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.gather(None)

    def build(self, make: Callable[[], Model]) -> Model:
        """Return the model that `make` gives; where it is divided, this process's part of it."""
        return make()

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Bring a model to a device, unless it is divided: each part is where it belongs."""
        model.to(device)


ALONE = Processes()


@dataclass(frozen=True, kw_only=True)
class MetProcesses(Processes):
    """Processes that share work, each with its device and a whole copy of every model.

    Attributes:
        accelerator: The processes as accelerate knows them.
        group: What objects are exchanged by and processes wait in, on any device; None for one
            process alone.
    """

    accelerator: "Accelerator"
    group: Any = field(default=None, repr=False)

    remedy: ClassVar[str] = "start the command again"
    """What to do when one of them has ended."""

    @classmethod
    def meet(cls, device: str, shard: bool = False, **options: Any) -> Self:
        """Meet the other processes, if this one was started with others.

        `options` are those of the `Accelerator`; `shard` asks for a division of models' weights.

        Raises:
            UserError: They do not find each other, or there is no such device.
        """
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, PartialState

        # Without this, several processes on processors would each take themselves for the only one.
        cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
        with _without_dividers():
            with reported((distributed.DistError, ValueError), "the processes do not meet: "):
                state = PartialState(cpu=cpu, timeout=STEP)
            # Only now: of several processes, each has a GPU of its own. Refuses one not there.
            chosen = choose_device(device)
            if state.device.type != chosen.type:  # that of an earlier run of this process
                AcceleratorState._reset_state(reset_partial_state=True)
            # By default both are what `accelerate launch` is configured for: what `dtype` and
            # `compile` say is then not what is computed.
            accelerator = Accelerator(cpu=cpu, mixed_precision="no", dynamo_backend="no", **options)
        several = accelerator.num_processes > 1
        return cls(
            rank=accelerator.process_index,
            count=accelerator.num_processes,
            accelerator=accelerator,
            shard=shard and several,
            group=distributed.new_group(backend="gloo", timeout=PATIENCE) if several else None,
        )

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return cast(torch.device, self.accelerator.device)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, which all have to call this, in their order."""
        if self.group is None:
            return [value]
        values: list[T | None] = [None] * self.count
        distributed.all_gather_object(values, value, self.group)
        return cast(list[T], values)

    @contextmanager
    def telling_of_lost(self) -> Iterator[None]:
        """Raise a `UserError` where another process has ended in the middle of the block."""
        try:
            yield
        except RuntimeError as error:
            lost = isinstance(error, distributed.DistError) or any(s in str(error) for s in LOST)
            if self.count == 1 or not lost:
                raise
            raise UserError(
                f"process {self.rank} of {self.count} has lost another one, which has ended or "
                f"does not answer: see what it says; {self.remedy}"
            ) from error


@contextmanager
def _without_dividers() -> Iterator[None]:
    """Hide from accelerate that it is to divide models, which is done without it."""
    hidden = {name: os.environ.pop(name) for name in DIVIDERS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def launched(device: str) -> Iterator[Processes]:
    """Yield the processes that `torchrun` or `accelerate launch` has started, or this one alone.

    Raises:
        UserError: They do not find each other, one has ended, or there is no such device.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    processes = MetProcesses.meet(device)
    with processes.telling_of_lost():
        yield processes
