"""`python -m benchmarks`: measure rewardgap and its peers in turn, print ratios, write JSON."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.cases import CASES
from benchmarks.models import Workshop
from benchmarks.report import lines, summarise, to_json
from benchmarks.rounds import Plan, make_job, measure, run
from benchmarks.worker import Job
from rewardgap.errors import UserError
from rewardgap.io.files import write_text
from rewardgap.models.devices import has_native_bfloat16

PEAK_TASK = "benchmarks.cost:matrix_product"
QUICK = {"rows": 4, "batch_size": 2, "repeats": 2}


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for.

    Returns:
        the exit status: 0, or 2 after a mistake that is told in one line.
    """
    arguments = _parse(words)
    try:
        _check(arguments)
        with nullcontext(arguments.models) if arguments.models else TemporaryDirectory() as folder:
            _measure_all(arguments, Path(folder))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    shared = os.environ.get("REWARDGAP_SHARED")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    default = [name for name, case in CASES.items() if case.cuda == (device == "cuda")]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--cases",
        nargs="+",
        choices=list(CASES),
        default=default,
        metavar="CASE",
        help=str(list(CASES)),
    )
    add("--rows", type=int, default=32, help="rows that are timed")
    add("--batch-size", type=int, default=8, help="pairs per optimiser step; rows of the warm-up")
    add("--repeats", type=int, default=3, help="rounds")
    add("--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    add("--device", choices=["cpu", "cuda"], default=device)
    add("--quick", action="store_true", help="tiny models and few rows: is everything in order?")
    add("--compile", action="store_true", help="let our side compile the model's layers")
    add("--token-budget", type=int, help="tokens that our side's training computes at once")
    add("--profile", action="store_true", help="only print where our training spends its time")
    add("--data", type=Path, default=Path(shared or ".") / "data", help="folder of the data sets")
    add("--models", type=Path, help="folder where made models are kept from one call to the next")
    add("--peer-python", type=Path, default=Path(".venv-bench/bin/python"))
    add("--out", type=Path, default=Path("runs/benchmarks.json"), help="JSON of all figures")
    arguments = parser.parse_args(words)
    if arguments.quick:
        vars(arguments).update(QUICK)
    return arguments


def _check(arguments: argparse.Namespace) -> None:
    if not (arguments.profile or arguments.peer_python.exists()):
        raise UserError(
            f"no peer environment at {arguments.peer_python}: `make bench` makes it, "
            "or name one with --peer-python"
        )
    if min(arguments.rows, arguments.batch_size, arguments.repeats) < 1:
        raise UserError("--rows, --batch-size and --repeats must be at least 1")


def _measure_all(arguments: argparse.Namespace, folder: Path) -> None:
    plan = Plan(
        arguments.rows,
        arguments.batch_size,
        arguments.repeats,
        arguments.device,
        arguments.peer_python,
        arguments.compile,
        arguments.token_budget,
    )
    workshop = Workshop(folder, arguments.data, arguments.quick)
    if arguments.profile:
        _profile_all(arguments, workshop, plan)
        return
    found: dict = {"machine": {"device": plan.device, "peak": {}}, "cases": {}}
    for dtype in _precisions(arguments):
        peak = _peak(plan, dtype)
        found["machine"]["peak"][dtype] = peak
        print(f"{dtype} matrix-product peak: {peak / 1e9:.0f} GFLOP/s", flush=True)
        for name in arguments.cases:
            if dtype == "float32" or CASES[name].precisions:
                found["cases"][f"{name}, {dtype}"] = _measure(name, workshop, plan, dtype, peak)
                write_text(arguments.out, json.dumps(found, indent=1))
    print(f"wrote {arguments.out}")


def _precisions(arguments: argparse.Namespace) -> list[str]:
    """Return the wanted precisions that the device multiplies natively; the others are named."""
    if has_native_bfloat16(torch.device(arguments.device)):
        return arguments.dtype
    if "bfloat16" in arguments.dtype:
        print(f"bfloat16 is left out: this {arguments.device} does not multiply it natively")
    return [dtype for dtype in arguments.dtype if dtype != "bfloat16"]


def _peak(plan: Plan, dtype: str) -> float:
    """Operations a second of the machine's matrix product, the best of all rounds."""
    job = Job(PEAK_TASK, "", "", dtype, plan.device, 0, 0, "")
    measured = [run(sys.executable, job) for _ in range(plan.repeats)]
    return max(m.operations / m.seconds for m in measured)


def _measure(name: str, workshop: Workshop, plan: Plan, dtype: str, peak: float) -> dict:
    case = CASES[name]
    rounds = measure(case, make_job(case, workshop, plan, dtype), plan)
    summary = summarise(rounds, peak)
    print("\n".join(lines(name, dtype, summary)), flush=True)
    return to_json(rounds, summary)


def _profile_all(arguments: argparse.Namespace, workshop: Workshop, plan: Plan) -> None:
    """Print where our training steps spend their time."""
    table = workshop.folder / "profile.txt"
    for dtype in _precisions(arguments):
        for name in arguments.cases:
            job = make_job(CASES[name], workshop, plan, dtype)
            measured = run(sys.executable, replace(job, profile=str(table)))
            if table.exists():
                print(f"{name}, {dtype}: {measured.seconds:.2f} s", end="")
                print(f", the GPU computed {measured.busy:.0%} of them" if measured.busy else "")
                print(table.read_text("utf-8"), flush=True)
                table.unlink()


if __name__ == "__main__":
    sys.exit(main())
