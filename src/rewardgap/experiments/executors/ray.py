"""The tasks of an experiment on a Ray cluster, side by side, whatever becomes of its machines."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from rewardgap.configs.experiments import RunConfig
from rewardgap.errors import UserError, first_line, reported
from rewardgap.experiments.executors.executor import Executor, Outcomes
from rewardgap.experiments.grid import Grid
from rewardgap.experiments.runner import Runner
from rewardgap.io.grid_folder import read_experiment_record
from rewardgap.io.lock import FolderTakenError
from rewardgap.io.messages import Messages
from rewardgap.io.progress import SECONDS_PER_LINE
from rewardgap.io.ray_cluster import SHARED, cause_of, enter, find_ray, joined, needs_of, places

logger = logging.getLogger(__name__)

RETRIES = 3
FREED = 300.0
"""Seconds after which the system has dropped the locks of a machine that was lost, on a file system
that others share with it."""
CANCELLED = 15.0
"""Seconds that tasks have to end after an interrupt."""


class RayExecutor(Executor):
    """Does every task in a process of its own, on any machine of a cluster that has room for it.

    Ray starts a task again whose process or machine was lost; as a run that is resumed, it goes on
    from its last checkpoint. A mistake in the input is not tried again.
    """

    keys = frozenset({"address", "cpus_per_cell", "gpus_per_cell", "retries"})

    def __init__(self, config: RunConfig):
        """Look for Ray and for an answer at the address.

        Raises:
            UserError: Ray is not installed, or nothing answers.
        """
        super().__init__(config)
        self.ray = find_ray(config.address)

    def run(self, runner: Runner, places: Sequence[str], begin: Callable[[str], None]) -> Outcomes:
        """Do the tasks of these places side by side; yield each that has ended.

        Raises:
            UserError: There is no cluster, or a machine of it lacks a folder or a model.
        """
        if not places:
            return
        with joined(self.ray, self.config.address):
            needs = needs_of(self.ray, self.config.cpus_per_cell, self.config.gpus_per_cell)
            share = Share.of(runner.grid)
            self._check_machines(share, needs)
            begin(f"{len(places)} tasks on Ray")
            retries = RETRIES if self.config.retries is None else self.config.retries
            remote = self.ray.remote(max_retries=retries, retry_exceptions=True, **needs)(do_task)
            shared = self.ray.put(share)
            tasks = {remote.options(name=place).remote(shared, place): place for place in places}
            yield from self._outcomes(tasks)

    def _outcomes(self, tasks: dict[Any, str]) -> Outcomes:
        """Yield the place of each task that ends, as it ends; interrupt the others in the end."""
        try:
            while tasks:
                (ended, *_), _ = self.ray.wait(list(tasks), num_returns=1)
                place = tasks.pop(ended)
                try:
                    refusal = self.ray.get(ended)
                except self.ray.exceptions.RayError as error:
                    yield place, cause_of(error)
                else:
                    yield place, UserError(refusal) if refusal else None
        finally:
            for task in tasks:
                self.ray.cancel(task)
            if tasks:
                self.ray.wait(list(tasks), num_returns=len(tasks), timeout=CANCELLED)

    def _check_machines(self, share: "Share", needs: Mapping[str, float]) -> None:
        """Refuse a cluster in which a machine that can do tasks does not see what it needs."""
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        check = self.ray.remote(num_cpus=0, max_retries=0)(check_machine)
        checks = {
            check.options(scheduling_strategy=strategy(node, soft=False)).remote(share): name
            for node, name in set(places(self.ray, needs))
        }
        for task, machine in checks.items():
            try:
                fault = self.ray.get(task)
            except self.ray.exceptions.RayError as error:
                fault = first_line(cause_of(error))
            if fault:
                raise UserError(f"the machine {machine} cannot take part: {fault}")


@dataclass(frozen=True)
class Share:
    """What all machines need to have in common to do the tasks of a grid.

    Attributes:
        grid: The grid.
        directory: The working directory, to which paths are relative.
        messages: Which messages are given.
    """

    grid: Grid
    directory: str
    messages: Messages

    @classmethod
    def of(cls, grid: Grid) -> "Share":
        """Return what the machines are to have, from this one."""
        level = logging.getLogger("rewardgap").getEffectiveLevel()
        return cls(grid, os.getcwd(), Messages(level, SECONDS_PER_LINE.get()))

    def enter(self) -> None:
        """Go to the working directory.

        Raises:
            UserError: This machine lacks it, or the folder of the grid is another one here.
        """
        enter(self.directory)
        with reported(UserError, "", SHARED):
            known = read_experiment_record(self.grid.folder.folder.absolute()).cells
        # Another command may have added cells since.
        if not {cell.key for cell in self.grid.cells} <= {cell.key for cell in known}:
            raise UserError(f"its {self.grid.folder.experiment.absolute()} is another one{SHARED}")


def check_machine(share: Share) -> str:
    """Return why this machine cannot do the tasks of a grid; empty if it can."""
    try:
        share.enter()
        Runner.open(share.grid, weights=False)
    except UserError as error:
        return str(error)
    return ""


def do_task(share: Share, place: str) -> str:
    """Do the task of a place; return why it cannot be done, empty if it is done.

    Other errors are raised, and Ray tries again.
    """
    cpus = import_module("ray").get_runtime_context().get_assigned_resources().get("CPU", 1)
    torch.set_num_threads(max(1, int(cpus)))
    with share.messages.shown():
        try:
            share.enter()
            runner = Runner.open(share.grid)
            if place in runner.cells and (steps := runner.cells[place].run.steps_saved):
                logger.info("goes on after step %s", f"{steps:,}")
            _when_free(runner.tasks[place])
        except (UserError, torch.OutOfMemoryError) as error:
            return first_line(error)
        except Exception as error:  # not all of which can be sent to another process
            raise RuntimeError(f"{type(error).__name__}: {first_line(error)}") from error
    return ""


def _when_free(act: Callable[[], None]) -> None:
    """Act, once no process of a machine that Ray has lost is at work in the folder any more."""
    latest = time.monotonic() + FREED
    while True:
        try:
            return act()
        except FolderTakenError as error:
            if time.monotonic() > latest:
                raise
            logger.info("waiting: %s", first_line(error))
            time.sleep(1)
