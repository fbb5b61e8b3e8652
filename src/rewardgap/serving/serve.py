"""Serving a reward model over HTTP: open the model, take the port, answer until told to stop."""

import logging
import os
import socket
from pathlib import Path

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.serving import ServeConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError, reported
from rewardgap.scoring.scorer import as_one_model, load

logger = logging.getLogger(__name__)

TOKEN = "REWARDGAP_TOKEN"
LOCAL = ("127.0.0.1", "::1", "localhost")
CONNECTIONS = 1024
"""Connections at once; further ones are answered 503."""


@by_keywords(ServeConfig)
def serve(config: ServeConfig) -> None:
    """Serve rewards until the process is told to stop; what was asked before is still answered.

    Raises:
        UserError: The model cannot be read, the port is taken, or the extra is not installed.
    """
    try:
        import uvicorn

        from rewardgap.serving.app import Service, make_app
        from rewardgap.serving.figures import ServerFigures
    except ImportError as error:
        remedy = "pip install 'rewardgap[serve]'"
        raise UserError(f"serving needs {error.name}, which is not installed: {remedy}") from error
    from rewardgap.serving.worker import Worker

    token = read_token(config.token_file)
    if token is None and config.host not in LOCAL:
        logger.warning("whoever reaches %s may ask for rewards: set $%s", config.host, TOKEN)
    with bind(config.host, config.port) as listener:
        logger.info("loading %s", config.model)
        rater = load(
            config.model,
            kind=config.kind,
            reference=config.reference,
            options=KindConfig.of(config),
            max_length=config.max_length,
            template=config.template,
            dtype=config.dtype,
            device=config.device,
            token_budget=config.token_budget,
        )
        scorer = as_one_model(rater)
        if scorer.reference:
            scorer.reference.load()
        figures = ServerFigures()
        worker = Worker(scorer, config, figures.batches.observe)
        app = make_app(Service(worker, figures, config, token))
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(config.timeout) + 1,
        )
        address = f"http://{_written(config.host)}:{listener.getsockname()[1]}"
        logger.info("serving %s at %s; Ctrl-C ends it", config.model, address)
        uvicorn.Server(settings).run(sockets=[listener])


def read_token(file: str | None) -> str | None:
    """Return the bearer token of a file, or that of the environment; None if there is none.

    Raises:
        UserError: The file cannot be read or is empty, or the token is no plain text.
    """
    if file is None:
        token = os.environ.get(TOKEN, "")
    else:
        with reported((OSError, ValueError), f"cannot read {file}: "):
            token = Path(file).read_text(encoding="utf-8").strip()
        if not token:
            raise UserError(f"{file} is empty: write the bearer token in it")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"the token of {file or '$' + TOKEN} must be ASCII without spaces")
    return token or None


def bind(host: str, port: int) -> socket.socket:
    """Return a socket of an address, on which nobody listens yet.

    Raises:
        UserError: The port is taken, or the address is not of this machine.
    """
    with reported(OSError, f"cannot listen on {host}: ", "; choose another host"):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)  # asyncio disables Nagle's delay if it is TCP
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        remedy = "choose another port or host"
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}; {remedy}") from error
    return listener


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
