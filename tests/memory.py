"""The memory that a script needs."""

import subprocess
import sys
from pathlib import Path

REPORT = "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def peak_kibibytes(script: str, *words: Path) -> int:
    """The peak resident memory of a process of its own that runs a script.

    Linux lets getrusage begin at the parent's peak, which would be that of the whole suite.
    """
    command = [sys.executable, "-c", script + REPORT, *map(str, words)]
    return int(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
    )
