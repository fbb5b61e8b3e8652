"""Processes of their own that need no seconds to import PyTorch and the package: forks of one."""

import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

PATIENCE = 120
"""Seconds after which two processes are taken to wait for each other for ever."""
PRELOADED = ["processes", "command_line", "tiny", "rewardgap.cli", "rewardgap.experiments.run"]


def start_forks() -> ForkServerContext:
    """Return a context that starts processes with `PRELOADED` in them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    usual = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), usual or ""])
    first = context.Process(target=time.sleep, args=(0,))
    first.start()
    first.join()  # so that no later process waits for the imports
    if usual is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = usual
    return context


@dataclass(frozen=True)
class Started:
    """A process and the folder of what it prints.

    `call(*arguments)` is its work and returns its status; environment and working directory are
    those of the process that starts it.
    """

    process: ForkServerProcess
    folder: Path

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def end(self) -> int:
        """Wait for its end and return its status."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def start(
    forks: ForkServerContext, folder: Path, call: Callable[..., int], *arguments: Any, **added: str
) -> Started:
    """Start a call with so many arguments; `added` are variables of its environment alone."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ) | added
    process = forks.Process(target=_act, args=(folder, environment, call, arguments))
    process.start()
    return Started(process, folder)


def start_two(
    forks: ForkServerContext, folder: Path, call: Callable[..., int], *arguments: Any, **added: str
) -> list[Started]:
    """Start a call in two processes, with the variables that torchrun gives them, and others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    # Accelerate's own configuration says nothing of how a run is computed.
    places |= {"LOCAL_WORLD_SIZE": "2", "ACCELERATE_MIXED_PRECISION": "bf16"} | added
    return [
        start(forks, folder / f"{rank}", call, *arguments, **places, RANK=rank, LOCAL_RANK=rank)
        for rank in ("0", "1")
    ]


def ends(processes: Sequence[Started]) -> list[int | None]:
    """Wait for processes and return how they ended; None for those that had to be killed."""
    for started in processes:
        started.process.join(PATIENCE)
    codes = [started.process.exitcode for started in processes]
    for started in processes:
        started.process.kill()
    return codes


def _act(
    folder: Path, environment: dict[str, str], call: Callable[..., int], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        with open(folder / name, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    try:
        status = call(*arguments)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
