"""Start-up: the processor time of a command that only prints its help."""

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import Job, Measurement


def rewardgap_help(job: Job) -> Measurement:
    """`rewardgap --help`."""
    return _help("rewardgap")


def trl_help(job: Job) -> Measurement:
    """`trl --help`."""
    return _help("trl")


def _help(command: str) -> Measurement:
    """Processor seconds of the second run; the first one may still compile modules."""
    words = [str(Path(sys.executable).parent / command), "--help"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measurement(seconds, [])
