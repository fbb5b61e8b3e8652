"""The pace of requests, and where asynchronous work runs."""

import asyncio
import time

from rewardgap.rewriting.endpoint import Pace, _run


def test_requests_keep_the_pace():
    """Four requests, of which three wait 0.05 s, one after the other; without a pace none waits."""

    async def send(per_minute: float | None) -> float:
        pace, began = Pace(per_minute), time.monotonic()
        await asyncio.gather(*(pace.keep(None) for _ in range(4)))
        return time.monotonic() - began

    assert asyncio.run(send(1200)) >= 0.149
    assert asyncio.run(send(None)) < 0.1


def test_work_runs_where_a_notebook_runs_a_loop():
    done = []

    async def work() -> None:
        done.append(asyncio.get_running_loop())

    async def notebook() -> None:
        done.append(asyncio.get_running_loop())
        _run(work())

    asyncio.run(notebook())
    assert len(set(done)) == 2
