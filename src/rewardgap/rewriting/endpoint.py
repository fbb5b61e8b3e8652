"""A language model behind any endpoint that speaks OpenAI's chat completions.

Requests that are refused for a while (408, 409, 429, 5xx), time out or are cut are repeated by the
client of `openai`, later and later, or when `Retry-After` says; broken answers are by us.
"""

import asyncio
import json
import os
import re
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rewardgap.configs.rewriting import RewriteConfig
from rewardgap.errors import UserError, first_line
from rewardgap.evaluation.text import counted
from rewardgap.io.progress import progress
from rewardgap.rewriting.replies import Keep, NoReply, Reply, answer_alone

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY = "OPENAI_API_KEY"
LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
HOPELESS = (401, 404)
"""Statuses after which no other request has an answer: a wrong key, a wrong address or model."""
MOST_FAILURES = 8
"""Requests without an answer, one after the other, after which no further ones are sent."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before a broken answer is asked for again."""


class Endpoint:
    """A model behind an endpoint.

    Attributes:
        identity: Endpoint, model, and what is sent with every prompt but the seed.
    """

    def __init__(self, config: RewriteConfig):
        assert config.endpoint is not None, "it is what the caller has looked at"
        if find_spec("openai") is None:
            raise UserError("an endpoint needs further packages: pip install 'rewardgap[rewrite]'")
        self._config, self._url = config, config.endpoint.rstrip("/")
        self._is_local = bool(LOOPBACK.fullmatch(urlsplit(self._url).hostname or ""))
        self._key = "" if config.dry_run else _read_key(config.api_key_env, self._is_local)
        self._failures = 0
        self._answers = 0
        body = {"model": config.model, "temperature": config.temperature, **config.request}
        if config.max_tokens is not None:
            body["max_tokens"] = config.max_tokens
        self._body = body
        self.identity: Mapping[str, Any] = {"endpoint": self._url, **body}

    def answer(self, prompts: Sequence[str], seed: int, keep: Keep) -> None:
        """Answer all prompts, several at a time.

        Raises:
            UserError: The endpoint is not there, or refuses whatever it is asked.
        """
        _run(self._answer(prompts, seed, keep))

    async def _answer(self, prompts: Sequence[str], seed: int, keep: Keep) -> None:
        places = asyncio.Semaphore(self._config.concurrency)
        async with self._client() as client:
            tasks = [
                asyncio.create_task(self._answer_one(client, places, prompt, seed, index))
                for index, prompt in enumerate(prompts)
            ]
            try:
                shown = progress(tasks, "rewriting", unit="texts")
                for _, task in zip(shown, asyncio.as_completed(tasks), strict=True):
                    keep(*await task)
            finally:
                for unfinished in tasks:
                    unfinished.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        # Requests that the client repeats keep the pace too; no proxy leads to this machine.
        hooks = {"request": [Pace(self._config.requests_per_minute).keep]}
        return AsyncOpenAI(
            api_key=self._key,
            base_url=self._url,
            timeout=self._config.timeout,
            max_retries=self._config.request_retries,
            http_client=DefaultAsyncHttpxClient(event_hooks=hooks, trust_env=not self._is_local),
        )

    async def _answer_one(
        self, client: "AsyncOpenAI", places: asyncio.Semaphore, prompt: str, seed: int, index: int
    ) -> tuple[int, Reply | NoReply]:
        import openai

        async with places:
            try:
                reply = await self._ask(client, prompt, seed)
            except (openai.APIError, ValueError) as error:
                return index, self._failed(error)
        self._failures, self._answers = 0, self._answers + 1
        return index, reply

    async def _ask(self, client: "AsyncOpenAI", prompt: str, seed: int) -> Reply:
        """Ask, again after a broken answer; raise the error of the last try."""
        messages = [{"role": "user", "content": prompt}]
        body = {**self._body, "messages": messages}
        if self._config.send_seed:
            body["seed"] = seed
        for broken in range(self._config.request_retries):
            try:
                return _read(await client.post("/chat/completions", cast_to=object, body=body))
            except ValueError:
                await asyncio.sleep(min(FIRST_WAIT * 2**broken, LONGEST_WAIT))
        return _read(await client.post("/chat/completions", cast_to=object, body=body))

    def _failed(self, error: Exception) -> NoReply:
        """Return why there is no answer; raise it if no further request would have one."""
        reason = self._reason(error)
        self._failures += 1
        hopeless = getattr(error, "status_code", None) in HOPELESS
        if hopeless or self._failures >= MOST_FAILURES:
            raise UserError(
                f"{self._url} gives no answers: {reason}; the same command goes on from here: "
                f"{counted(self._answers, 'new answer')} are kept"
            )
        return NoReply(reason)

    def _reason(self, error: Exception) -> str:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"none within {self._config.timeout:g} s (timeout)"
        if isinstance(error, openai.APIConnectionError):
            return f"the connection failed ({first_line(error.__cause__ or error)})"
        text = " ".join(str(error).split())[:300]
        return text.replace(self._key, "…")  # servers may repeat the key that they refuse


class Pace:
    """Lets so many requests a minute pass, at equal distances; None lets all pass."""

    def __init__(self, per_minute: float | None):
        self._distance = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def keep(self, request: object) -> None:
        """Wait for a request's turn."""
        now = asyncio.get_running_loop().time()
        turn = max(self._next, now)
        self._next = turn + self._distance
        await asyncio.sleep(turn - now)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run asynchronous work to its end, in a thread of its own where a notebook runs a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
    else:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, work).result()


def _read_key(name: str | None, is_local: bool) -> str:
    """Return the key from the environment; nothing is asked of a server on this machine."""
    if name is None and is_local:
        return "none"
    key = os.environ.get(name or KEY, "").strip()
    if not key:
        remedy = "" if name else ", or name another variable with --api-key-env"
        raise UserError(
            f"the environment has no {name or KEY}: set it to the endpoint's key{remedy}"
        )
    return key


def _read(completion: object) -> Reply:
    """Read an answer; raise a ValueError if it is none."""
    if isinstance(completion, str):  # where a server does not say that it is JSON
        completion = json.loads(completion)
    match completion:
        case {"choices": [{"message": {**message}, **choice}, *_], **further}:
            text = str(message.get("content") or "")
            text.encode()  # it may have half of a surrogate pair
            names = further.get("model"), further.get("system_fingerprint")
            return Reply(
                text=answer_alone(text),
                version=" ".join(str(name) for name in names if name),
                finish=str(choice.get("finish_reason") or "stop"),
                refusal=str(message.get("refusal") or ""),
                tokens_read=_tokens(further.get("usage"), "prompt_tokens"),
                tokens_written=_tokens(further.get("usage"), "completion_tokens"),
            )
        case {"error": {"message": str(said)}}:
            raise ValueError(f"the server says {said}")
    raise ValueError(f"the answer is no chat completion: {completion!r:.80}")


def _tokens(usage: object, key: str) -> int:
    """Return a number of tokens, 0 where a server does not count them."""
    count = usage.get(key) if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) else 0
