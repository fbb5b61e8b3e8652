"""A server in a thread, asked over the loopback interface."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from tiny import tiny_config, tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from rewardgap.configs.serving import ServeConfig
from rewardgap.serving.serve import serve


@dataclass
class Server:
    """A running server."""

    port: int
    server: uvicorn.Server
    thread: threading.Thread

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, content and headers of an answer; a body that is no text is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, data, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.getheader("content-type", "").startswith("application/json")
            return response.status, json.loads(text) if is_json else text, dict(response.headers)
        finally:
            connection.close()

    def rewards(self, path: str, body: Any) -> list[float]:
        """The rewards of a request that is right."""
        status, answer, _ = self.ask(path, body)
        assert status == 200, answer
        return answer["rewards"]

    def refusal(self, path: str, body: Any, status: int = 400) -> str:
        """The message about a request that is wrong."""
        told, answer, _ = self.ask(path, body)
        assert told == status, answer
        assert answer["error"]["code"] == status
        message = answer["error"]["message"]
        assert message and "\n" not in message
        return message

    def stop(self) -> None:
        """Tell the server to stop, and wait until it has."""
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers as the command does; they stop in the end."""
    servers: list[Server] = []

    def start(model: Path, **changes: Any) -> Server:
        settings = {"device": "cpu", "port": 0, "max_responses": 20, **changes}
        config = ServeConfig(model=str(model), **settings)
        made: list[uvicorn.Server] = []
        with pytest.MonkeyPatch.context() as patch:
            new = uvicorn.Server
            patch.setattr(uvicorn, "Server", lambda *a: made.append(new(*a)) or made[-1])
            thread = threading.Thread(target=serve, args=(config,))
            thread.start()
            while not (made and made[0].started):
                assert thread.is_alive()
                time.sleep(0.01)
        port = made[0].servers[0].sockets[0].getsockname()[1]
        servers.append(Server(port, made[0], thread))
        return servers[-1]

    yield start
    for server in servers:
        if server.thread.is_alive():
            server.stop()


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random classification model of one output, as other tools save explicit models."""
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = tiny_tokenizer()
    config = tiny_config("llama")
    config.pad_token_id, config.num_labels = tokenizer.pad_token_id, 1
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
