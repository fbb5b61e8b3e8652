"""What an executor is: where the tasks of an experiment are done, and by which keys of `run`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, TypeAlias

from rewardgap.configs.experiments import RunConfig
from rewardgap.experiments.runner import Runner

Outcomes: TypeAlias = Generator[tuple[str, Exception | None]]
"""Places of tasks that have ended, each with the error by which it failed, if it did."""


class Executor(ABC):
    """Where the tasks of an experiment are done.

    A task is what `Runner.tasks` names by its place in the folder of the grid. One that fails stops
    no other. A generator that is closed early ends what it has begun.

    Attributes:
        keys: The keys of `RunConfig` that this executor alone, or with others, takes.
        config: The configuration.
    """

    keys: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: RunConfig):
        self.config = config

    @abstractmethod
    def run(self, runner: Runner, places: Sequence[str], begin: Callable[[str], None]) -> Outcomes:
        """Do the tasks of these places; yield each that has ended.

        `begin` is told in a few words what is being done.
        """

    @classmethod
    def next_command(cls, config: RunConfig) -> str | None:
        """Return the command that does what `run` has only prepared; None if nothing is left."""
        return None
