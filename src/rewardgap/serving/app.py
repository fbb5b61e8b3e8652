"""The HTTP application: who may ask, how much, and what is answered when something is wrong."""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import Full
from typing import Any, NoReturn

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from rewardgap.configs.serving import ServeConfig
from rewardgap.errors import UserError
from rewardgap.serving.figures import CONTENT_TYPE, ServerFigures
from rewardgap.serving.shapes import SHAPES, Shape
from rewardgap.serving.worker import Worker

logger = logging.getLogger(__name__)

OPEN = ("/health",)
"""Addresses that ask for no token."""
AUTHORIZATION = "Bearer "
DISCARDED = 8
"""So many times the largest request is read, so that its sender can read the answer."""


@dataclass(frozen=True)
class Service:
    """What answers requests.

    Attributes:
        worker: Computes rewards.
        figures: Counts.
        config: Limits, and the model's name.
        token: The bearer token, None if none is asked for.
    """

    worker: Worker
    figures: ServerFigures
    config: ServeConfig
    token: str | None

    async def answer(self, request: Request, shape: Shape) -> Response:
        """Answer a request for rewards.

        Raises:
            HTTPException: It is wrong, too large or late, or the server is busy.
        """
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self._reward(request, shape)
        except TimeoutError:
            _refuse(504, f"not computed within {self.config.timeout:g} seconds")
        except UserError as error:
            _refuse(400, str(error))
        except ClientDisconnect:
            return Response(status_code=499)
        except RuntimeError as error:
            _refuse(500, str(error))

    async def _reward(self, request: Request, shape: Shape) -> Response:
        self._check_model(body := _parse(await self._read(request)))
        responses = shape.read(body)
        if len(responses) > self.config.max_responses:
            limit = self.config.max_responses
            raise UserError(f"{len(responses)} responses; this server takes at most {limit}")
        try:
            future = self.worker.submit(responses)
        except Full:
            _refuse(429, "too many requests are waiting: try again", {"Retry-After": "1"})
        rewarded = await asyncio.wrap_future(future)
        self.figures.responses.inc(len(rewarded.rewards))
        self.figures.tokens.inc(sum(rewarded.lengths))
        return JSONResponse(shape.write(rewarded, self.config.model))

    async def _read(self, request: Request) -> bytes:
        """Return the body, of which no more is kept than is allowed."""
        limit, size, body = self.config.max_body, 0, bytearray()
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                body += chunk
            elif size > DISCARDED * limit:
                break
        if size > limit:
            _refuse(413, f"the request has more than {limit} bytes")
        return bytes(body)

    def _check_model(self, body: dict[str, Any]) -> None:
        if body.get("model") not in (None, self.config.model):
            _refuse(404, f"the model here is {self.config.model!r}")

    def check_token(self, request: Request) -> None:
        """Refuse a request without the token; the comparison takes the same time for any other."""
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        expected = f"{AUTHORIZATION}{self.token}".encode()
        if self.token and request.url.path not in OPEN and not hmac.compare_digest(given, expected):
            _refuse(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})


def make_app(service: Service) -> FastAPI:
    """Return the application; it closes the worker when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.worker.close)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(HTTPException, _say)
    for path, shape in SHAPES.items():
        app.add_api_route(path, _reward_route(service, shape), methods=["POST"])

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        entry = {"id": service.config.model, "object": "model", "owned_by": "rewardgap"}
        return {"object": "list", "data": [entry]}

    @app.get("/metrics")
    async def metrics() -> Response:
        service.figures.waiting.set(service.worker.waiting)
        return Response(service.figures.to_text(), media_type=CONTENT_TYPE)

    @app.middleware("http")
    async def watch(
        request: Request, proceed: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        began, path = time.perf_counter(), request.url.path
        try:
            service.check_token(request)
            response = await proceed(request)
        except HTTPException as error:
            response = _say(request, error)
        except Exception:
            logger.exception("a request to %s failed", path)
            response = _say(request, HTTPException(500, "an error in the server"))
        known = path if path in SHAPES else "other"
        service.figures.requests.labels(known, response.status_code).inc()
        service.figures.seconds.labels(known).observe(time.perf_counter() - began)
        return response

    return app


def _reward_route(service: Service, shape: Shape) -> Callable[[Request], Awaitable[Response]]:
    async def reward(request: Request) -> Response:
        return await service.answer(request, shape)

    return reward


def _say(request: Request, error: Exception) -> Response:
    """Return an error as JSON."""
    assert isinstance(error, HTTPException)
    content = {"error": {"message": str(error.detail), "code": error.status_code}}
    return JSONResponse(content, error.status_code, error.headers)


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> NoReturn:
    raise HTTPException(status, message, headers)


def _parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request's body."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the request is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise UserError("the request must be a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
