"""`python -m benchmarks.serving --model MODEL`: a server under eight clients.

Made-up conversations, each with a prompt of its own or several in turn with the same one as in
reinforcement learning, are scored offline, by `rewardgap serve` and by a naive server of the same
framework that computes one request in one forward pass of plain transformers, in turn, round after
round; ratios are of neighbours in a round. Then the server gets damaged requests, of which none may
be answered with a status of 500 or with another request's text, and is killed while it computes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread, local
from typing import Any

import numpy as np
import psutil
import torch

import rewardgap
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.serving import ServeConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Message, Record
from rewardgap.io.files import write_text
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.saved import SavedRewardModel
from rewardgap.scoring.scorer import Scorer

CLIENTS = 8
WORDS = "the a quick brown fox jumps over lazy dog and never says why it likes to help".split()  # noqa: SIM905
SECRET = "qwfpgj luyarst dhneio"
CONNECTION = local()

Asked = tuple[str, list[str]]


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--model", required=True, help="language model, which gets a random reward head")
    add("--requests", type=int, default=200, help="requests of a round")
    add("--responses", type=int, default=2, help="responses of a request")
    add("--words", type=int, nargs=2, default=[80, 40], help="words of prompts and of responses")
    add("--sharing", type=int, default=16, help="requests with one prompt, where it is shared")
    add("--rounds", type=int, default=5)
    add("--damaged", type=int, default=1000, help="damaged requests")
    add("--out", type=Path, default=Path("runs/serving.json"), help="JSON of all figures")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        model = make_model(arguments.model, Path(folder) / "model")
        scorer = rewardgap.load(str(model), device="cpu")
        with _server(_ours(model)) as ours, _server(_naive(model)) as naive:
            for title, sharing in (("own prompts", 1), ("shared prompts", arguments.sharing)):
                rows = _conversations(arguments, sharing)
                figures[title] = _measure(scorer, ours, naive, rows, arguments.rounds)
            figures |= _damage(ours, arguments.damaged)
        figures |= _kill(model, rows)
    write_text(arguments.out, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def _conversations(arguments: argparse.Namespace, sharing: int) -> list[Asked]:
    """Return requests, of which each `sharing` have one prompt."""
    chance = random.Random(sharing)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randrange(words // 2, words * 3 // 2)))

    asked, answered = arguments.words
    prompts = [text(asked) for _ in range(0, arguments.requests, sharing)]
    return [
        (prompts[i // sharing], [text(answered) for _ in range(arguments.responses)])
        for i in range(arguments.requests)
    ]


def make_model(name: str, folder: Path) -> Path:
    """Save an explicit reward model with a random head."""
    template, options = ChatTemplate.load(locate_model(name)), KindConfig()
    model = find_kind("explicit").initialise(locate_model(name), template, options, torch.float32)
    SavedRewardModel("explicit", options).write(model, folder)
    return folder


@dataclass(frozen=True)
class Process:
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]


def _ours(model: Path) -> list[str]:
    words = ["-m", "rewardgap.cli", "serve", str(model), "--device", "cpu", "--port"]
    return [*words, str(_free_port())]


def _naive(model: Path) -> list[str]:
    return ["-m", "benchmarks.naive_server", str(model), str(_free_port())]


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _server(words: list[str]) -> Iterator[Process]:
    process = subprocess.Popen([sys.executable, *words], text=True)
    server = Process(int(words[-1]), process)
    try:
        _wait(server)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def _wait(server: Process) -> None:
    """Wait until a server answers."""
    while True:
        try:
            _ask(server.port, "/health", None)
            return
        except (OSError, HTTPException):
            if server.process.poll() is not None:
                raise SystemExit("the server does not start") from None
            time.sleep(0.1)


def _ask(port: int, path: str, body: bytes | None) -> tuple[int, str]:
    """Return status and content; every thread keeps its connection."""
    if getattr(CONNECTION, "port", None) != port:
        CONNECTION.port, CONNECTION.http = port, HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        CONNECTION.http.request("GET" if body is None else "POST", path, body)
        response = CONNECTION.http.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        CONNECTION.port = None
        raise


def _load(server: Process, rows: list[Asked]) -> tuple[np.ndarray, list[float], list[list[float]]]:
    """Return seconds of eight clients and of the server's processor, those of requests, rewards."""

    def ask(row: Asked) -> tuple[float, list[float]]:
        body = json.dumps({"prompt": row[0], "responses": row[1]}).encode()
        began = time.perf_counter()
        status, text = _ask(server.port, "/v1/score", body)
        assert status == 200, text
        return time.perf_counter() - began, json.loads(text)["rewards"]

    times = psutil.Process(server.process.pid).cpu_times
    began, before = time.perf_counter(), sum(times()[:2])
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, rows))
    took = np.array([time.perf_counter() - began, sum(times()[:2]) - before])
    return took, [seconds for seconds, _ in answers], [rewards for _, rewards in answers]


def _offline(scorer: Scorer, rows: list[Asked]) -> tuple[np.ndarray, list[list[float]]]:
    records = [
        Record(
            str(i),
            (Message("user", prompt),),
            tuple((Message("assistant", text),) for text in responses),
            (),
            {},
        )
        for i, (prompt, responses) in enumerate(rows)
    ]
    began = np.array([time.perf_counter(), time.process_time()])
    rewards = scorer.rewards(records)[1]
    return np.array([time.perf_counter(), time.process_time()]) - began, rewards


def _measure(
    scorer: Scorer, ours: Process, naive: Process, rows: list[Asked], rounds: int
) -> dict[str, Any]:
    """Return ratios of throughput, latencies in seconds, and the largest difference of rewards."""
    for server in (ours, naive):
        _load(server, rows[:CLIENTS])
    _offline(scorer, rows[:CLIENTS])
    offline: list[np.ndarray] = []
    simple: list[np.ndarray] = []
    latencies: list[float] = []
    apart = 0.0
    for _ in range(rounds):
        alone, expected = _offline(scorer, rows)
        took, seconds, rewards = _load(ours, rows)
        slow, _, plain = _load(naive, rows)
        offline.append(alone / took)
        simple.append(slow / took)
        latencies += seconds
        for values in (rewards, plain):
            apart = max(apart, float(np.abs(np.array(values) - np.array(expected)).max()))
    return {
        "throughput over offline scoring": _spread(offline, 0),
        "throughput over one request in one forward": _spread(simple, 0),
        "throughput of a processor over offline scoring": _spread(offline, 1),
        "throughput of a processor over one request in one forward": _spread(simple, 1),
        "median latency": float(np.quantile(latencies, 0.5)),
        "p99 latency": float(np.quantile(latencies, 0.99)),
        "largest difference of rewards": apart,
    }


def _spread(ratios: list[np.ndarray], column: int) -> dict[str, float]:
    values = [float(ratio[column]) for ratio in ratios]
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def _damage(server: Process, count: int) -> dict[str, Any]:
    """Return how many damaged requests were answered with which status."""
    chance = random.Random(0)
    secret = json.dumps({"prompt": SECRET, "responses": [SECRET]}).encode()
    good = [
        ("/v1/score", {"prompt": "hi", "responses": ["a", "b"], "tools": None}),
        ("/v1/score", {"messages": [{"role": "user", "content": "hi"}] * 2}),
        ("/get_reward", {"query": ["a b"], "prompts": ["a"]}),
        ("/classify", {"input": [[1, 2], [3]]}),
        ("/pooling", {"input": ["a", "b"], "use_activation": False}),
    ]
    statuses: dict[int, int] = {}
    leaks = 0
    for _ in range(count):
        _ask(server.port, "/v1/score", secret)
        path, body = chance.choice(good)
        status, text = _ask(server.port, path, _damaged(json.dumps(body).encode(), chance))
        statuses[status] = statuses.get(status, 0) + 1
        leaks += any(word in text for word in SECRET.split())
    assert not leaks and max(statuses) < 500, (leaks, statuses)
    return {"damaged requests by status": statuses, "answers with another's text": leaks}


def _damaged(body: bytes, chance: random.Random) -> bytes:
    """Return a body with bytes changed, cut out, doubled, or with a value of another type."""
    kind = chance.randrange(6)
    start, end = sorted(chance.choices(range(len(body)), k=2))
    if kind == 0:
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 6)):
            changed[chance.randrange(len(body))] = chance.randrange(256)
        return bytes(changed)
    if kind == 1:
        return body[:start] + body[end:]
    if kind == 2:
        return body[:end] + body[start:]
    values = json.loads(body)
    values[chance.choice(list(values))] = chance.choice(
        [None, 3, -1e400, "", [], [[]], {}, [None], [{}], "\ud800", [[-1]], [10**30], True]
    )
    return json.dumps(values).encode()


def _kill(model: Path, rows: list[Asked]) -> dict[str, Any]:
    """Kill a server while eight clients wait, and start another one on its port."""
    words = _ours(model)
    errors: list[str] = []

    def ask() -> None:
        responses = [response for _, several in rows for response in several]
        at_most = responses[: ServeConfig.max_responses]
        body = json.dumps({"prompt": rows[0][0], "responses": at_most})
        try:
            _ask(int(words[-1]), "/v1/score", body.encode())
        except (OSError, HTTPException) as error:
            errors.append(type(error).__name__)

    with _server(words) as server:
        clients = [Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        os.kill(server.process.pid, signal.SIGKILL)
        for client in clients:
            client.join()
    with _server(words) as again:
        _, _, rewards = _load(again, rows[:CLIENTS])
    assert len(errors) == CLIENTS and np.isfinite(rewards).all()
    return {"errors of clients of a killed server": errors, "restarted": True}


if __name__ == "__main__":
    main()
