"""Everything that is measured on a GPU, part by part, within a time.

    python -m benchmarks.gpu --seconds 540 --data DIR --out DIR [--smollm2 FOLDER] [--part NAME ...]
    python -m benchmarks.gpu --rehearse --data DIR --out DIR

Parts that are done are left out, so that a second call goes on where the first ended. No part is
begun that is expected to take longer than what is left, and none runs beyond it. Each leaves a log.
Nothing is fetched: the peers are looked for in this Python. `--rehearse` runs the same parts small,
on a processor.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One of the things to measure.

    Attributes:
        seconds: What it is expected to take on an H100, starting and compiling included.
        words: A module and its arguments; {out} is a file for its figures.
        measures: Whether it takes the arguments of `python -m benchmarks`.
        needs_model: Whether it needs SmolLM2.
        small: What a rehearsal adds.
    """

    seconds: float
    words: Sequence[str]
    measures: bool = False
    needs_model: bool = False
    small: Sequence[str] = ()


PARTS = {
    "tests": Part(75, ("pytest", "-m", "gpu", "tests/gpu", "-n", "7", "-p", "no:cacheprovider")),
    "operators": Part(35, ("benchmarks.operators", "--out", "{out}"), small=("--quick",)),
    "explicit": Part(75, ("--cases", "explicit-1b", "--out", "{out}"), measures=True),
    "implicit": Part(85, ("--cases", "implicit-1b", "--out", "{out}"), measures=True),
    "scoring": Part(45, ("--cases", "score-16-1b", "--out", "{out}"), measures=True),
    "profile": Part(60, ("--cases", "explicit-1b", "implicit-1b", "--profile"), measures=True),
    "small-steps": Part(
        60, ("--cases", "explicit-1b", "--token-budget", "4096", "--out", "{out}"), measures=True
    ),
    "compiled": Part(
        120, ("--cases", "explicit-1b", "implicit-1b", "--profile", "--compile"), measures=True
    ),
    "smollm2": Part(240, ("benchmarks.gpu_jobs", "run"), needs_model=True),
}


def main() -> None:
    """Do the parts that are asked for and not done, while there is time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    add = parser.add_argument
    add("--seconds", type=float, default=540, help="that everything may take")
    add("--data", required=True, help="folder of the data sets")
    add("--out", type=Path, required=True, help="folder of figures and logs")
    add("--smollm2", help="folder of SmolLM2-135M-Instruct")
    add("--part", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=str([*PARTS]))
    add("--rehearse", action="store_true", help="small, on a processor")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.part:
        part, done = PARTS[name], arguments.out / f"{name}.done"
        left = deadline - time.monotonic()
        if done.exists() or (part.needs_model and not arguments.smollm2):
            print(f"{name}: {'done before' if done.exists() else 'needs --smollm2'}", flush=True)
        elif part.seconds > left:
            print(f"{name}: takes {part.seconds:.0f} s, and {left:.0f} s are left", flush=True)
        elif _do(name, part, arguments, left):
            done.touch()


def _do(name: str, part: Part, arguments: argparse.Namespace, left: float) -> bool:
    """Run a part, and say how it ended; return whether it is done."""
    log = arguments.out / f"{name}.log"
    began = time.monotonic()
    with log.open("w") as file:
        try:
            ended = subprocess.run(
                [sys.executable, "-m", *_words(name, part, arguments, left)],
                env=os.environ | _surroundings(arguments.rehearse),
                timeout=left,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: stopped when the time was up, see {log}", flush=True)
            return False
    seconds = time.monotonic() - began
    print(f"{name}: {seconds:.0f} s, status {ended.returncode}, see {log}", flush=True)
    return ended.returncode == 0


def _words(name: str, part: Part, arguments: argparse.Namespace, left: float) -> list[str]:
    """Return the module and the arguments of a part."""
    words = [word.format(out=arguments.out / f"{name}.json") for word in part.words]
    if part.needs_model:
        words += ["--seconds", str(left), "--data", arguments.data, "--smollm2", arguments.smollm2]
        return [*words, "--out", str(arguments.out / "jobs")]
    if not part.measures:
        return [*words, *(part.small if arguments.rehearse else ())]
    place = ["--data", arguments.data, "--models", str(arguments.out / "models")]
    size = ["--quick", "--dtype", "float32"] if arguments.rehearse else ["--dtype", "bfloat16"]
    return ["benchmarks", *words, *place, *size, "--repeats", "1", "--peer-python", sys.executable]


def _surroundings(rehearse: bool) -> dict[str, str]:
    """Return what the processes find in their environment."""
    alone = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return alone | ({"REWARDGAP_TEST_DEVICE": "cpu", "OMP_NUM_THREADS": "1"} if rehearse else {})


if __name__ == "__main__":
    main()
