"""A Ray cluster: found, joined for a while, and asked what its machines have room for."""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rewardgap.errors import UserError, reported

logger = logging.getLogger(__name__)

SETTINGS = {"USAGE_STATS_ENABLED": "0", "DEDUP_LOGS": "0"}
"""Environment of Ray where the user has set none: it reports nothing to its makers, and leaves out
no line that two tasks have in common."""
HERE = ("auto", "local")
"""Addresses that Ray itself resolves: the cluster of this machine, and a new one on it."""
ANSWER = 5.0
"""Seconds in which a cluster has to answer."""
SHARED = "; choose folders that all machines share under the same path"


def find_ray(address: str | None) -> Any:
    """Return the package, which is imported only here, once an address has answered.

    Raises:
        UserError: Ray is not installed, or nothing answers.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(f"RAY_{name}", value)
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    try:
        ray = import_module("ray")
        if ray.__file__ is None:  # any folder of this name, such as Ray's own in /tmp
            raise ImportError("ray is a folder without a package")
    except ImportError as error:
        raise UserError(
            "the executor ray needs a further package: pip install 'rewardgap[ray]'"
        ) from error
    refuse_silent(address or os.environ.get("RAY_ADDRESS"))
    return ray


@contextmanager
def joined(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to the cluster, unless this process is, and leave it at the end."""
    if ray.is_initialized():
        yield
        return
    remedy = "; where the cluster has a token, set RAY_AUTH_MODE=token"
    with reported((ConnectionError, ValueError, RuntimeError), "no cluster of Ray: ", remedy):
        ray.init(address=address, include_dashboard=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def needs_of(ray: Any, cpus: int | None, gpus: float | None) -> dict[str, float]:
    """Return Ray's options for a task of so many CPUs and GPUs, by default one where there are."""
    if gpus is None:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
    return {"num_cpus": cpus or 1, "num_gpus": gpus}


def places(ray: Any, needs: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return id and name of a machine for every task that the cluster has room for."""
    needed = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
    machines = [
        (node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        for node in ray.nodes()
        if node["Alive"]
        for _ in range(
            min(int(node["Resources"].get(key, 0) // need) for key, need in needed.items() if need)
        )
    ]
    if not machines:
        logger.warning(
            "no machine of the cluster has what is needed (CPUs: %d, GPUs: %g): waiting for one",
            *needs.values(),
        )
    return machines


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
