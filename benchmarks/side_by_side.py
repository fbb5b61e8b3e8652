"""Jobs side by side in several processes, in the order of their worth, until a deadline.

Every job writes one small file of its own, so that no two processes write the same one, and has a
log. What is done is not done again. A job is started only if the time that is left is enough for
what it is expected to take, and whatever runs at the deadline is killed.
"""

import gc
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from rewardgap.io.files import write_text

TELLING = 4
"""So many jobs done tell how long jobs take, against what was expected."""
PACE = (0.5, 4.0)
"""The least and the most by which expectations are corrected."""


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own or after other jobs in the same one.

    Attributes:
        name: Its name, a path below the folder of results.
        seconds: What it is expected to take.
        work: Does it, and returns what its file is to hold; must be known by its module.
        needs: Names of jobs that must be done before.
    """

    name: str
    seconds: float
    work: Callable[[], Any]
    needs: Sequence[str] = ()


@dataclass(frozen=True)
class Results:
    """The folder of all results: a file and a log for each job."""

    folder: Path

    def file(self, name: str) -> Path:
        """Return the file of a job that is done: its `seconds` and its `result`."""
        return self.folder / "jobs" / f"{name}.json"

    def log(self, name: str) -> Path:
        """Return the log of a job."""
        return self.folder / "logs" / f"{name}.log"

    def done(self, name: str) -> bool:
        """Return whether a job is done."""
        return self.file(name).exists()

    def read(self) -> dict[str, dict[str, Any]]:
        """Return what is there of all jobs, by name."""
        top = self.folder / "jobs"
        return {
            path.relative_to(top).with_suffix("").as_posix(): json.loads(path.read_text())
            for path in sorted(top.rglob("*.json"))
        }


@dataclass
class Worker:
    """A process that does one job after another."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    job: Job | None = None


@dataclass
class Board:
    """What is to do, what is done and what was not.

    Attributes:
        jobs: All jobs in the order of their worth, each behind those that it needs.
        results: Where they are written.
        deadline: When all must have ended, on the monotonic clock.
        failed: Names of jobs that failed; they are not tried again in this call.
        begun: Names of jobs that were given to a process.
        paces: Seconds that jobs took, as multiples of what was expected.
    """

    jobs: Sequence[Job]
    results: Results
    deadline: float
    failed: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    paces: list[float] = field(default_factory=list)

    @property
    def pace(self) -> float:
        """By how much jobs take longer than expected, by those that are done."""
        if len(self.paces) < TELLING:
            return 1.0
        return float(np.clip(np.mean(self.paces), *PACE))

    def open(self) -> Iterator[Job]:
        """Yield the jobs that may still be begun, now or when others are done."""
        left = self.deadline - time.monotonic()
        coming = self.begun - self.failed
        for job in self.jobs:
            if job.name in self.begun or self.results.done(job.name):
                continue
            possible = all(name in coming or self.results.done(name) for name in job.needs)
            if possible and job.seconds * self.pace <= left:
                coming.add(job.name)
                yield job

    def next(self) -> Job | None:
        """Return the first job that may begin now."""
        return next((job for job in self.open() if all(map(self.results.done, job.needs))), None)

    def took(self, job: Job, seconds: float | None, error: str | None) -> None:
        """Note that a job has ended, and say it."""
        left = self.deadline - time.monotonic()
        if error is not None or seconds is None:
            self.failed.add(job.name)
            said = f"failed: {error or 'its process ended'}"
        else:
            self.paces.append(seconds / job.seconds)
            said = f"{seconds:.0f} s of {job.seconds:.0f}"
        print(f"{left:6.0f} s left  {job.name}: {said}", flush=True)


@dataclass(frozen=True)
class Office:
    """What every process is started with.

    Attributes:
        folder: The folder of all results.
        workers: Processes at once.
        threads: Threads of each.
        imports: Modules that every process imports before its first job.
    """

    folder: Path
    workers: int
    threads: int = 2
    imports: Sequence[str] = ()


def run_jobs(make: Callable[[], Sequence[Job]], seconds: float, office: Office) -> Board:
    """Make jobs and do as many as the seconds allow; return what came of them.

    The processes are started first, for their imports take time.
    """
    deadline = time.monotonic() + seconds
    os.environ["OMP_NUM_THREADS"] = str(office.threads)  # of the processes started from here
    os.environ.setdefault("REWARDGAP_CACHE", str(office.folder / "cache"))
    staff = [_hire(office) for _ in range(office.workers)]
    try:
        board = Board(make(), Results(office.folder), deadline)
        while staff and time.monotonic() < board.deadline:
            for worker in staff:
                _give(worker, board)
            left = max(0.0, min(1.0, board.deadline - time.monotonic()))
            wait([worker.pipe for worker in staff], left)
            staff = [kept for worker in staff for kept in _hear(worker, board, office)]
    finally:
        for worker in staff:
            _dismiss(worker)
    return board


def _hire(office: Office) -> Worker:
    context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, office), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _give(worker: Worker, board: Board) -> None:
    """Give an idle process the next job."""
    if not worker.ready or worker.job:
        return
    worker.job = board.next()
    if worker.job:
        board.begun.add(worker.job.name)
        worker.pipe.send(worker.job)


def _hear(worker: Worker, board: Board, office: Office) -> list[Worker]:
    """Hear what a process has to say; return it, or the one in its place, or none."""
    if not worker.pipe.poll():
        idle = worker.ready and not worker.job
        if not idle or any(True for _ in board.open()):
            return [worker]
        _dismiss(worker)
        return []
    job, worker.job = worker.job, None
    try:
        said = worker.pipe.recv()
    except (EOFError, OSError):  # it has ended by itself
        said = None, None
    if job:
        board.took(job, *said)
    if said[0] is not None:
        worker.ready = True
        return [worker]
    _dismiss(worker)
    return [_hire(office)] if job else []


def _dismiss(worker: Worker) -> None:
    """End a process, whatever it does."""
    with suppress(OSError):
        if worker.ready and not worker.job:
            worker.pipe.send(None)
            worker.process.join(2)
    worker.process.kill()
    worker.process.join(5)
    worker.pipe.close()


def _serve(pipe: Connection, office: Office) -> None:
    """Do the jobs that come through the pipe, until there is none."""
    for module in office.imports:
        import_module(module)
    results = Results(office.folder)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("rewardgap").setLevel(logging.INFO)
    pipe.send((0.0, None))
    while job := pipe.recv():
        began = time.perf_counter()
        error = None
        with _output_to(results.log(job.name)):
            try:
                _write(results.file(job.name), job, began)
            except Exception as problem:  # of any kind: the next job is done all the same
                traceback.print_exc()
                error = f"{type(problem).__name__}: {problem}".partition("\n")[0][:200]
            _free()
        pipe.send((time.perf_counter() - began, error))


def _write(path: Path, job: Job, began: float) -> None:
    result = job.work()
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = round(time.perf_counter() - began, 2)
    write_text(path, json.dumps({"seconds": seconds, "result": result}) + "\n")


def _free() -> None:
    """Give the memory of a job back, that of a GPU too."""
    gc.collect()
    torch = sys.modules.get("torch")  # jobs that need it have imported it
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Write everything that this process says to a file while the context lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    with path.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            sys.stdout.flush()
            for stream, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, stream)
                os.close(descriptor)
