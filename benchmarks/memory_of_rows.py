"""`python -m benchmarks.memory_of_rows`: does training on more pairs take more memory?

Trains a tiny model for a few steps on few and on many made-up pairs, each in a process of its own,
from reading the file to the metrics, and prints the peaks of anonymous memory: pages of mapped
files are not counted, which the system can drop at any time. Then it trains again, with the tokens
in the cache, and prints how long that takes.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import numpy as np

from benchmarks.models import Size, make_model
from benchmarks.rounds import run
from benchmarks.worker import Job, Measurement, resident
from rewardgap.configs.training import TrainConfig
from rewardgap.io.cache import SETTLED
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

TINY = Size(
    layers=2,
    width=32,
    heads=2,
    key_value_heads=2,
    feed_forward=64,
    vocabulary=1000,
    tokenizer=1000,
)
STEPS = 8
EVALUATED = 100
KINDS = ("explicit", "implicit")
BLOCK = 10_000


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--rows", type=int, nargs=2, default=[10_000, 1_000_000], help="pairs: few and many")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS)
    add("--out", type=Path, default=Path("runs/memory_of_rows.json"), help="JSON of all figures")
    arguments = parser.parse_args()
    measured = {}
    with TemporaryDirectory() as folder:
        sizes = {count: _write_rows(Path(folder), count) for count in arguments.rows}
        words = (" ".join(row.values()) for row in _rows(1000))
        model = make_model(TINY, words, Path(folder) / "tiny").causal
        for kind in arguments.kinds:
            runs = {
                count: measure(kind, model, rows, Path(folder)) for count, rows in sizes.items()
            }
            measured[kind] = _summarise(kind, runs)
    write_text(arguments.out, json.dumps(measured, indent=1))
    print(f"wrote {arguments.out}")


def measure(kind: str, model: Path, rows: Path, folder: Path) -> Measurement:
    """One run in a new process with an empty cache."""
    task = f"benchmarks.memory_of_rows:{kind}"
    return run(sys.executable, Job(task, str(model), str(rows), "float32", "cpu", 32, 0, ""))


def _summarise(kind: str, runs: dict[int, Measurement]) -> dict[str, object]:
    (few, less), (many, more) = runs.items()
    ratio = more.peak_memory / less.peak_memory
    print(
        f"{kind}: {less.peak_memory / 2**20:.0f} MiB with {few:,} pairs, "
        f"{more.peak_memory / 2**20:.0f} MiB with {many:,}: {ratio:.3f}x "
        f"({less.memory_before / 2**20:.0f} MiB before the run); "
        f"again: {less.seconds:.2f} s and {more.seconds:.2f} s",
        flush=True,
    )
    peaks = {f"{count:,} pairs": measurement.peak_memory for count, measurement in runs.items()}
    return {"ratio": ratio, **peaks, "seconds again": [less.seconds, more.seconds]}


def _train(job: Job, kind: str) -> Measurement:
    """Make a whole run of a few steps, and another that is timed."""
    config = TrainConfig(
        model=job.model,
        kind=kind,
        train=job.rows,
        eval={"test": f"{job.rows}?limit={EVALUATED}"},
        out=str(Path(job.scratch) / "run"),
        cache=str(Path(job.scratch) / "cache"),
        batch_size=job.pairs_per_step,
        epochs=1,
        max_steps=STEPS,
        device=job.device,
        dtype=job.dtype,
    )
    before = resident("RssAnon")
    with _peak_of_anonymous_memory() as peak:
        log = Run(train(config)).log.read_text("utf-8").splitlines()
    time.sleep(SETTLED)  # files that have just changed are read again
    train(replace(config, out=f"{config.out}-checked", eval={}))
    began = time.perf_counter()
    train(replace(config, out=f"{config.out}-again", eval={}))
    seconds = time.perf_counter() - began
    losses = [json.loads(line)["loss"] for line in log]
    return Measurement(seconds, losses, memory_before=before, peak_memory=max(peak))


@contextmanager
def _peak_of_anonymous_memory() -> Iterator[list[int]]:
    """Yield a list that is filled with the bytes of anonymous memory every few milliseconds."""
    bytes_in_memory, done = [resident("RssAnon")], Event()

    def watch() -> None:
        while not done.wait(0.005):
            bytes_in_memory[:] = [max(*bytes_in_memory, resident("RssAnon"))]

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield bytes_in_memory
    finally:
        done.set()
        thread.join()


explicit = partial(_train, kind="explicit")
implicit = partial(_train, kind="implicit")


def _write_rows(folder: Path, count: int) -> Path:
    path = folder / f"{count}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in _rows(count))
    return path


def _rows(count: int) -> Iterator[dict[str, str]]:
    """Pairs of a few random words each, always the same."""
    generator = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = [a + b for a in syllables for b in syllables]
    for start in range(0, count, BLOCK):
        for picks in generator.integers(len(words), size=(min(BLOCK, count - start), 12)):
            picked = [words[i] for i in picks]
            yield {
                "prompt": " ".join(picked[:4]),
                "chosen": " ".join(picked[4:8]),
                "rejected": " ".join(picked[8:]),
            }


if __name__ == "__main__":
    main()
