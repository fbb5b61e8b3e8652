"""What is left to measure on SmolLM2 of the forecast and of the gap, on one GPU in minutes.

    python -m benchmarks.gpu_jobs run --seconds 330 --data DIR --smollm2 FOLDER --out DIR
    python -m benchmarks.gpu_jobs list --data DIR --smollm2 FOLDER
    python -m benchmarks.gpu_jobs take --out DIR

`run` does as many jobs as the seconds allow, several at once, and goes on where it ended before;
`results.tar.gz` in its folder has everything but caches, and no weights. `take` puts what came of
them, unpacked on any machine, into the results of the suite and of the study, and into their pages.
"""

import argparse
import json
import os
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.side_by_side import Board, Job, Office, Results, run_jobs
from rewardgap.evaluation.text import align_columns

if TYPE_CHECKING:  # else the processes would be started only when all is imported here
    from benchmarks.closing_the_gap import Curve, Place

MODEL = "smollm2-135m"
PACKING = 6.0
"""Seconds that are kept for the archive and for the end of the processes."""
ARCHIVE = "results.tar.gz"

FORECASTS = {
    "persona": ("smollm2-135m persona, three kinds", (25, 35, 30)),
    "math-1000": ("smollm2-135m math, 1000 pairs", (55, 75, 40)),
    "chat": ("smollm2-135m chat", (38, 50, 40)),
    "math-500": ("smollm2-135m math, 500 pairs", (35, 50, 40)),
    "agreement": ("smollm2-135m agreement", (25, 35, 25)),
}
"""Cases of the suite, and the seconds that a training, the rehearsals of a kind, and theory are
expected to take on an H100 that six processes share; those of 39 jobs, which eight processes did,
were right on the mean (0.96), and of trainings on 1,000 pairs half of what they took."""
GAPS = {"persona": 25.0, "agreement": 25.0, "math": 38.0, "chat": 48.0}
"""By source, what a run of the study is expected to take."""
CORE = 10
"""So many candidates, the first, are measured before all others."""
ORDER = (
    *("forecast/persona", "forecast/math-1000", "gap/persona/core", "forecast/chat"),
    *("gap/math/core", "forecast/agreement", "forecast/math-500", "gap/chat/core"),
    *("gap/persona/rest", "gap/agreement/core", "gap/math/rest", "gap/agreement/rest"),
    *("gap/chat/rest", "gap/persona/seeds", "gap/math/seeds", "gap/agreement/seeds"),
)
"""Lists of jobs in the order of their worth; `core` are the first ten candidates, `rest` all
others, and `seeds` two more seeds of the ten."""


def main() -> None:
    """Run jobs, list them, or take in what came of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_jobs")
    add = parser.add_argument
    add("action", choices=["run", "list", "take"])
    add("--seconds", type=float, default=330, help="that everything may take")
    add("--data", default="data", help="folder of prepared local files")
    add("--smollm2", default=MODEL, help="folder of SmolLM2-135M-Instruct")
    add("--out", default="runs/gpu-jobs", help="folder of the results")
    add("--workers", type=int, default=6, help="processes at once")
    add("--threads", type=int, default=2, help="threads of each process")
    add("--only", nargs="+", choices=ORDER, default=ORDER, metavar="LIST", help=", ".join(ORDER))
    arguments = parser.parse_args()
    out = Path(arguments.out)
    if arguments.action == "take":
        take(out)
        return
    lists = (arguments.only, arguments.data, arguments.smollm2, out / "runs")
    if arguments.action == "list":
        jobs = list(make_jobs(*lists))
        print(align_columns([(job.name, f"{job.seconds:.0f} s") for job in jobs], right=[1]))
        print(f"{len(jobs)} jobs, {sum(job.seconds for job in jobs):.0f} s one after the other")
        return
    left = arguments.seconds - age() - PACKING
    imports = ("benchmarks.suite_jobs", "benchmarks.closing_the_gap")
    office = Office(out, arguments.workers, arguments.threads, imports)
    board = run_jobs(lambda: list(make_jobs(*lists)), left, office)
    pack(out)
    say(board, age())


def age() -> float:
    """Return the seconds since this process was started, its imports included."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK")


def make_jobs(lists: Iterable[str], data: str, smollm2: str, runs: Path) -> Iterator[Job]:
    """Yield the jobs of some lists, in their order."""
    from benchmarks import closing_the_gap as gap
    from benchmarks import suite_jobs

    place = suite_jobs.Place({MODEL: smollm2}, data, runs / "forecast")
    studied = gap.Place(MODEL, smollm2, data, runs / "gap")
    for name in lists:
        topic, _, rest = name.partition("/")
        if topic == suite_jobs.PREFIX:
            case, expected = FORECASTS[rest]
            yield from suite_jobs.jobs_of(case, place, suite_jobs.Expected(*expected))
        else:
            yield from gap_jobs(*rest.split("/"), studied)


def gap_jobs(source: str, part: str, place: "Place") -> Iterator[Job]:
    """Yield a part of the study's candidates on a source, seed by seed."""
    from benchmarks.closing_the_gap import CANDIDATES, measure

    names = list(CANDIDATES)
    candidates = names[CORE:] if part == "rest" else names[:CORE]
    for seed in (1, 2) if part == "seeds" else (0,):
        for name in candidates:
            work = partial(measure, source, name, seed, place)
            yield Job(f"gap/{place.name}/{source}/{name}-{seed}", GAPS[source], work)


def pack(out: Path) -> None:
    """Write an archive of the results, logs and runs, without the caches."""
    with tarfile.open(out / ARCHIVE, "w:gz", compresslevel=3) as archive:
        for name in ("jobs", "logs", "runs"):
            if (out / name).exists():
                archive.add(out / name, name)


def say(board: Board, seconds: float) -> None:
    """Say what was done and what was not."""
    left = [job.name for job in board.jobs if not board.results.done(job.name)]
    print(f"{len(board.jobs) - len(left)} of {len(board.jobs)} jobs are done, in {seconds:.0f} s")
    print(f"jobs took {board.pace:.2f} of what was expected")
    for title, names in (
        ("failed", sorted(board.failed)),
        ("killed", [name for name in left if name in board.begun - board.failed]),
        ("not begun", [name for name in left if name not in board.begun]),
    ):
        if names:
            print(f"{title}: {', '.join(names)}")


def take(out: Path) -> None:
    """Put everything that is done into the results and the pages of the suite and the study."""
    from benchmarks import closing_the_gap as gap
    from benchmarks import forecast_suite as suite
    from benchmarks import suite_jobs
    from benchmarks.documentation import write_tables

    jobs = Results(out).read()
    taken = suite_jobs.take_in(jobs, out / "runs" / "forecast")
    gap.take_in(list(_curves(jobs)))
    forecasts = json.loads(suite.RESULTS.read_text())
    write_tables(suite.DOCS, suite.markdown(forecasts))
    write_tables(gap.DOCS, gap.markdown(json.loads(gap.RESULTS.read_text())))
    print(f"cases: {', '.join(taken) or 'none'}; curves: {len(list(_curves(jobs)))}")
    print(align_columns(suite_jobs.costs(json.loads(suite_jobs.CLOCK.read_text()))))
    print(json.dumps(suite.summary(forecasts), indent=1))


def _curves(jobs: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, int, "Curve"]]:
    from benchmarks.closing_the_gap import CANDIDATES

    order, curves = list(CANDIDATES), []
    for name, entry in jobs.items():
        topic, *place = name.split("/")
        if topic == "gap":
            model, source, run = place
            candidate, _, seed = run.rpartition("-")
            curves.append((f"{model} {source}", candidate, int(seed), entry["result"]))
    yield from sorted(curves, key=lambda curve: (curve[0], order.index(curve[1]), curve[2]))


if __name__ == "__main__":
    main()
