"""How long a report of 60 runs, 7 sets and 200 records takes, and how large its page is.

Run `.venv/bin/python -m benchmarks.large_report` from the checkout; the rewards are made up.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from rewardgap import ReportConfig, report

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    """Print seconds, megabytes of the page and the process's peak memory."""
    sys.path.insert(0, str(TESTS))
    from grids import Grid, write_grid  # what the tests report on

    grid = Grid(
        models=("a", "b", "c", "d", "e"),
        kinds=("explicit", "generative", "implicit"),
        seeds=(0, 1, 2, 3),
        records=200,
        words=400,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_grid(Path(folder, "grid"), grid)
        began, worked = time.perf_counter(), time.process_time()
        page = report(
            ReportConfig(folders=[str(Path(folder, "grid"))], out=str(Path(folder, "out")))
        )
        seconds, busy = time.perf_counter() - began, time.process_time() - worked
        size = page.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{seconds:.1f} s, of which {busy:.1f} s of CPU; page {size:.1f} MB; peak {peak:.2f} GiB")


if __name__ == "__main__":
    main()
