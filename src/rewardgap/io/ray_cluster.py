"""A Ray cluster: found, joined for a while, and asked whether its machines see what they need."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from rewardgap.errors import UserError, first_line, reported

logger = logging.getLogger(__name__)

SETTINGS = {"USAGE_STATS_ENABLED": "0", "DEDUP_LOGS": "0"}
"""Environment of Ray where the user has set none: it reports nothing to its makers, and leaves out
no line that two tasks have in common."""
HERE = ("auto", "local")
"""Addresses that Ray itself resolves: the cluster of this machine, and a new one on it."""
ANSWER = 5.0
"""Seconds in which a cluster has to answer."""
SHARED = "; choose folders that all machines share under the same path"

Needed = TypeVar("Needed")


@dataclass(frozen=True)
class Cluster:
    """A cluster of Ray, and what a task or an actor takes of its machines.

    Attributes:
        ray: The package, which is imported only where a cluster is asked for.
        address: HOST:PORT of the head; None for the cluster that Ray finds, or a new one here.
        cpus: Processors; by default 1.
        gpus: GPUs; by default 1 where the cluster has any.
    """

    ray: Any
    address: str | None
    cpus: int | None
    gpus: float | None

    @classmethod
    def find(cls, address: str | None, cpus: int | None, gpus: float | None) -> "Cluster":
        """Look for Ray and for an answer at the address.

        Raises:
            UserError: Ray is not installed, or nothing answers.
        """
        for name, value in SETTINGS.items():
            os.environ.setdefault(f"RAY_{name}", value)
        if not sys.stderr.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        try:
            ray = import_module("ray")
        except ImportError as error:
            raise UserError(
                "the executor ray needs a further package: pip install 'rewardgap[ray]'"
            ) from error
        refuse_silent(address or os.environ.get("RAY_ADDRESS"))
        return cls(ray, address, cpus, gpus)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Connect to the cluster, unless this process is, and leave it at the end.

        Raises:
            UserError: There is none.
        """
        if self.ray.is_initialized():
            yield
            return
        remedy = "; where the cluster has a token, set RAY_AUTH_MODE=token"
        with reported((ConnectionError, ValueError, RuntimeError), "no cluster of Ray: ", remedy):
            self.ray.init(
                address=self.address, include_dashboard=False, logging_level=logging.ERROR
            )
        try:
            yield
        finally:
            self.ray.shutdown()

    @property
    def needs(self) -> dict[str, float]:
        """The CPUs and GPUs that a task takes, as Ray's options; known once it is joined."""
        gpus = self.gpus
        if gpus is None:
            gpus = min(1, self.ray.cluster_resources().get("GPU", 0))
        return {"num_cpus": self.cpus or 1, "num_gpus": gpus}

    @property
    def room(self) -> int:
        """How many tasks its machines have room for side by side, or 1 if they have none."""
        return max(1, sum(map(self._places, self.ray.nodes())))

    def check_machines(self, check: Callable[[Needed], str], needed: Needed) -> None:
        """Refuse a cluster in which a machine that can do tasks does not see what it needs.

        `check`, called there, returns what is wrong, or nothing.
        """
        able = [node for node in self.ray.nodes() if self._places(node)]
        if not able:
            needs = "CPUs: {num_cpus}, GPUs: {num_gpus:g}".format(**self.needs)
            logger.warning(
                "no machine of the cluster has what is needed (%s): waiting until one joins", needs
            )
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        remote = self.ray.remote(num_cpus=0, max_retries=0)(check)
        checks = {
            remote.options(scheduling_strategy=strategy(node["NodeID"], soft=False)).remote(
                needed
            ): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            for node in able
        }
        for task, machine in checks.items():
            try:
                fault = self.ray.get(task)
            except self.ray.exceptions.RayError as error:
                fault = first_line(cause_of(error))
            if fault:
                raise UserError(f"the machine {machine} cannot take part: {fault}")

    def _places(self, node: dict[str, Any]) -> int:
        """Return how many tasks a machine has room for."""
        resources = node["Resources"] if node["Alive"] else {}
        needs = {"CPU": self.needs["num_cpus"], "GPU": self.needs["num_gpus"]}
        return min(int(resources.get(name, 0) // need) for name, need in needs.items() if need)


def refuse_silent(address: str | None) -> None:
    """Refuse an address where nothing answers: Ray itself would try for more than a minute."""
    if address is None or address in HERE:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(
            f"address: {address!r} is no HOST:PORT; run the command on a machine of the cluster, "
            "and give the address that `ray start --head` has printed"
        )
    remedy = "; is that the address that `ray start --head` has printed, and does it run?"
    with reported((OSError, OverflowError), f"no cluster of Ray answers at {address}: ", remedy):
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()


def cause_of(error: Exception) -> Exception:
    """Return the error that a task has raised, with its traceback there; else Ray's own."""
    cause = getattr(error, "cause", None)
    if not isinstance(cause, Exception):
        return error
    cause.add_note(str(error))
    return cause


def enter(directory: str) -> None:
    """Go to the working directory of the command; raise a UserError if this machine lacks it."""
    with reported(OSError, f"it has no folder {directory}: ", SHARED):
        os.chdir(directory)
