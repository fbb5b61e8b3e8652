"""Ray clusters of two machines on this one, as far as Ray can tell, and their processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STORE = 100 * 2**20
PATIENCE = 300.0


def two_machines() -> Any:
    """A cluster of two machines of one processor each."""
    from ray.cluster_utils import Cluster

    made = Cluster(True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    made.add_node(num_cpus=1, object_store_memory=STORE)
    return made


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return what a condition returns, as soon as it is anything."""
    latest = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < latest
        time.sleep(0.05)
    return value


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def raylet(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return info.process.pid


def at_work(title: str) -> dict[int, int]:
    """The processes of this title, with the raylets that have started them."""
    processes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().rstrip(b"\0 ") == title.encode():
                processes[int(folder.name)] = parent(int(folder.name))
        except OSError:  # it has ended
            continue
    return processes
