"""A server of chat completions that misbehaves, as the texts that it is sent ask for."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STALL = 0.6
"""Seconds that a stalled request waits: more than the timeout that the tests set."""


class Server(ThreadingHTTPServer):
    """Answers a text `FAULT: words` with a fault at first, and then with the words."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.answers_left = 10**6

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"].rpartition("\n")[2]
        with self.server.lock:
            self.server.seen[text] += 1
            self.server.times.setdefault(text, []).append(time.monotonic())
            self.server.bodies.append(body)
            self.server.keys.add(self.headers["Authorization"])
            self.server.answers_left -= 1
            if self.server.answers_left < 0:
                self.send(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
                return
        fault, _, words = text.rpartition(": ")
        if self.server.seen[text] > 1 and fault not in ("refused", "bad"):
            fault = "none"
        getattr(self, f"fault_{fault}", self.good)(words)

    def good(self, words: str, **changes: Any) -> None:
        message = {"role": "assistant", "content": f"indeed, {plain(words)}", "refusal": None}
        message |= changes.pop("message", {})
        choice = {"index": 0, "finish_reason": "stop", "message": message, **changes}
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "big-2026-01"}
        self.send(
            200, {**answer, "choices": [choice], "usage": usage, "system_fingerprint": "fp_1"}
        )

    def send(self, status: int, body: object, *headers: tuple[str, str]) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header in (("Content-Type", "application/json"), *headers):
            self.send_header(*header)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fault_busy(self, words: str) -> None:
        self.send(429, {"error": {"message": "slow down"}}, ("Retry-After", "1"))

    def fault_broken_server(self, words: str) -> None:
        self.send(500, b"<html>no")

    def fault_stalled(self, words: str) -> None:
        time.sleep(STALL)
        self.good(words)

    def fault_json(self, words: str) -> None:
        self.send(200, b'{"choices": [{"mess')

    def fault_shape(self, words: str) -> None:
        self.send(200, {"choices": None})

    def fault_surrogate(self, words: str) -> None:
        self.good(words, message={"content": "\ud800"})

    def fault_cut(self, words: str) -> None:
        self.connection.shutdown(2)

    def fault_cut_body(self, words: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')

    def fault_empty(self, words: str) -> None:
        self.good(words, message={"content": "  "})

    def fault_silent(self, words: str) -> None:
        self.good(words, message={"content": None})

    def fault_long(self, words: str) -> None:
        self.good(words, finish_reason="length")

    def fault_filtered(self, words: str) -> None:
        self.good(words, finish_reason="content_filter")

    def fault_same(self, words: str) -> None:
        self.good(words, message={"content": f"same: {words}"})

    def fault_refused(self, words: str) -> None:
        self.good(words, message={"content": "I'm sorry, but I can't help with that."})

    def fault_bad(self, words: str) -> None:
        self.send(400, {"error": {"message": "the prompt is too long"}})

    def fault_thinks(self, words: str) -> None:
        self.good(words, message={"content": f"<think>Hm.\n</think>\n\nindeed, {plain(words)}"})


def plain(words: str) -> str:
    """Return words without a capital and a full stop: two texts can become the same."""
    return words.lower().removesuffix(".")


@contextmanager
def misbehaving() -> Iterator[Server]:
    """A server on a free port of this machine."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
