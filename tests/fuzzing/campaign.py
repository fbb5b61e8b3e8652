"""Runs damaged inputs through their readers and keeps the faults."""

import logging
import os
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from fuzzing.material import Material
from fuzzing.targets import TARGETS
from rewardgap.errors import UserError

SECONDS = 20
"""A reader that takes longer hangs."""


class Hang(BaseException):
    """A reader took too long."""


@dataclass
class Findings:
    """What came of the inputs.

    Attributes:
        outcomes: Numbers of inputs that were read, and refused in one line.
        faults: By place and exception the inputs (numbers) that ended so.
        details: By place and exception the traceback of the first.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    def add_fault(self, number: int, error: BaseException) -> None:
        """Count a fault."""
        frames = traceback.extract_tb(error.__traceback__)
        inner = [frame for frame in frames if "rewardgap" in frame.filename] or frames
        place = f"{Path(inner[-1].filename).name}:{inner[-1].lineno}"
        name = f"{type(error).__name__} at {place}"
        self.outcomes["fault"] += 1
        self.faults.setdefault(name, []).append(number)
        text = "".join(traceback.format_exception(error))
        self.details.setdefault(name, text[-3000:])


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Hang in the block after so many seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, numbers: range, seed: int, material: Material, until: float) -> Findings:
    """Run inputs of one target by their numbers, up to a time of the monotonic clock."""
    findings = Findings()
    folder = material.folder / f"{name}-{os.getpid()}"
    logging.disable(logging.CRITICAL)
    try:
        for number in numbers:
            if time.monotonic() > until:
                break
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _run_input(name, number, seed, material, folder, findings)
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)
    return findings


def _run_input(
    name: str, number: int, seed: int, material: Material, folder: Path, findings: Findings
) -> None:
    call = TARGETS[name](material, folder, Random(f"{name} {seed} {number}"))
    try:
        with limited(SECONDS):
            call()
        findings.outcomes["read"] += 1
    except UserError as error:
        findings.outcomes["refused"] += 1
        if "\n" in str(error).strip() and name != "templates":
            findings.outcomes["of several lines"] += 1
    except (Exception, Hang, SystemExit) as error:
        if isinstance(error, SystemExit) and name == "configurations":
            findings.outcomes["read"] += 1  # --help
        else:
            findings.add_fault(number, error)
