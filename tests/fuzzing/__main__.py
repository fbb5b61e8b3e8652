"""Fuzz all readers: `PYTHONPATH=tests python -m fuzzing --count 1000 --seed 0 [--target NAME]`.

Prints one JSON line for each target, and the traceback of the first input of every fault; an input
is run again by `--target NAME --first NUMBER --count 1` with the same seed. Exits with 1 if there
are faults.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from fuzzing.campaign import fuzz
from fuzzing.material import Material
from fuzzing.targets import TARGETS


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most so long per target")
    parser.add_argument("--target", action="append", choices=list(TARGETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder))
        for name in options.target or TARGETS:
            began = time.monotonic()
            inputs = range(options.first, options.first + options.count)
            findings = fuzz(name, inputs, options.seed, material, began + options.seconds)
            counts = {fault: len(inputs) for fault, inputs in findings.faults.items()}
            summary = {"target": name, **findings.outcomes, "faults": counts}
            summary["seconds"] = round(time.monotonic() - began, 1)
            print(json.dumps(summary), flush=True)
            for fault, text in findings.details.items():
                print(f"--- {name} {findings.faults[fault][0]}: {fault}\n{text}", flush=True)
            faults += len(findings.faults)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
