"""One measurement in a process of its own, so that its peak memory is nobody else's.

This module imports nothing but the standard library: it is what both environments share. Run as
`python -m benchmarks.worker JOB.json RESULT.json`.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """What to measure. Both sides of a case are given the same, but for `task`.

    Attributes:
        task: "module:function" that does the work and returns a `Measurement`.
        model: directory of the model that both sides load.
        rows: JSONL file of preference pairs or candidates, in the order in which they are taken.
        dtype: precision of matrix products; weights that are trained stay float32.
        device: "cpu" or "cuda".
        pairs_per_step: pairs of an optimiser step.
        warm_up: rows that are taken before the clock starts.
        scratch: an empty folder for caches.
        profile: file that a profile of the last step is written to; none where empty.
        compile: whether our side compiles the model's layers.
        token_budget: tokens that our side's training computes at once; None for its default.
    """

    task: str
    model: str
    rows: str
    dtype: str
    device: str
    pairs_per_step: int
    warm_up: int
    scratch: str
    profile: str = ""
    compile: bool = False
    token_budget: int | None = None

    def read_rows(self) -> list[dict]:
        """Return the rows, warm-up first."""
        return [json.loads(line) for line in Path(self.rows).read_text("utf-8").splitlines()]


@dataclass(frozen=True)
class Measurement:
    """What one side took.

    Attributes:
        seconds: time of everything after the warm-up.
        values: what was computed, to compare the sides by: each step's loss, or all rewards.
        reference_seconds: time of the reference log-probabilities of the rows after the warm-up,
            where they are computed before the clock starts.
        tokens: necessary tokens (`benchmarks.cost`) of the rows after the warm-up.
        operations: floating-point operations of matrix products that those tokens need.
        threads: that PyTorch computed with.
        memory_before: bytes resident after the imports, or allocated on the GPU (0).
        peak_memory: bytes resident, or allocated on the GPU, at the highest.
        busy: share of the time in which a GPU computed, where that was profiled.
    """

    seconds: float
    values: list[float]
    reference_seconds: float = 0.0
    tokens: int = 0
    operations: float = 0.0
    threads: int = 0
    memory_before: int = 0
    peak_memory: int = 0
    busy: float = 0.0


def main(job_path: str, result_path: str) -> None:
    """Do one job and write its measurement."""
    job = Job(**json.loads(Path(job_path).read_text("utf-8")))
    module, _, function = job.task.partition(":")
    work: Callable[[Job], Measurement] = getattr(import_module(module), function)
    before = resident("VmRSS")
    measurement = work(job)
    if not measurement.peak_memory:
        measurement = replace(measurement, memory_before=before, peak_memory=resident("VmHWM"))
    Path(result_path).write_text(json.dumps(asdict(measurement)), "utf-8")


def resident(field: str) -> int:
    """Bytes of this process in memory: now ("VmRSS"; "RssAnon" without files) or at most ("VmHWM").

    `getrusage` would do for the peak, but on Linux it starts from that of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(*sys.argv[1:])
