"""The tasks of an experiment in this process, one after another."""

import gc
from collections.abc import Callable, Sequence

import torch

from rewardgap.experiments.executors.executor import Executor, Outcomes
from rewardgap.experiments.runner import Runner


class LocalExecutor(Executor):
    """Does the tasks in this process, where they have their data in common."""

    def run(self, runner: Runner, places: Sequence[str], begin: Callable[[str], None]) -> Outcomes:
        """Do the tasks of these places one after another; yield each that has ended."""
        for place in places:
            begin(place)
            try:
                runner.tasks[place]()
            except Exception as error:  # of any kind, as the remaining tasks are to be done
                yield place, error
            else:
                yield place, None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
