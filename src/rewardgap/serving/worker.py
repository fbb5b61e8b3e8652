"""The one thread that owns the model: it computes the requests that wait together."""

import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, Queue

from rewardgap.configs.serving import ServeConfig
from rewardgap.errors import BadRecordError, UserError
from rewardgap.models.packing import micro_batches
from rewardgap.scoring.responses import ChatPrompt, Forest, PromptedResponse
from rewardgap.scoring.scorer import Scorer
from rewardgap.serving.shapes import Rewarded

logger = logging.getLogger(__name__)

AT_ONCE = 512
"""Responses after which no further request joins a batch."""


@dataclass(frozen=True)
class Job:
    """The responses of a request, and where its rewards are awaited."""

    responses: Sequence[PromptedResponse]
    future: "Future[Rewarded]" = field(default_factory=Future)


class Worker:
    """Computes rewards in batches of whatever waits; equal prompts are computed once."""

    def __init__(self, scorer: Scorer, config: ServeConfig, observe: Callable[[int], None]):
        """Start the thread; `observe` is given the number of requests of every batch."""
        self._scorer, self._wait, self._observe = scorer, config.wait, observe
        model = scorer.model.language_model
        self._longest = config.max_tokens or (model.longest if model else sys.maxsize)
        self._jobs: Queue[Job | None] = Queue(config.queue)
        self._thread = threading.Thread(target=self._run, name="rewards", daemon=True)
        self._thread.start()

    def submit(self, responses: Sequence[PromptedResponse]) -> "Future[Rewarded]":
        """Have responses rewarded, or raise `queue.Full`; the future may raise a `UserError`."""
        job = Job(responses)
        self._jobs.put_nowait(job)
        return job.future

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._jobs.get()]
            latest, size = time.monotonic() + self._wait, _size(batch[0])
            while batch[-1] is not None and size < AT_ONCE:
                try:
                    batch.append(self._jobs.get(timeout=max(0.0, latest - time.monotonic())))
                except Empty:
                    break
                size += _size(batch[-1])
            is_open = batch[-1] is not None
            jobs = [job for job in batch if job and job.future.set_running_or_notify_cancel()]
            if jobs:
                self._observe(len(jobs))
                self._compute(jobs)

    def _compute(self, jobs: list[Job]) -> None:
        """Give every job its rewards or its error."""
        try:
            self._answer(jobs)
        except Exception:  # such as a GPU without memory; the next batch may be smaller
            logger.exception("a batch of %d requests could not be computed", len(jobs))
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(RuntimeError("the rewards could not be computed"))

    def _answer(self, jobs: list[Job]) -> None:
        parts = self._plant(jobs)
        trees = [tree for _, forest in parts for tree in forest.trees]
        rewards = iter(self._scorer.compute(trees) if trees else [])
        for members, forest in parts:
            values = iter(forest.select([next(rewards) for _ in forest.trees]))
            lengths = iter(forest.lengths)
            for job in members:
                count = len(job.responses)
                rewarded = Rewarded([*islice(values, count)], [*islice(lengths, count)])
                if all(map(math.isfinite, rewarded.rewards)):
                    job.future.set_result(rewarded)
                else:
                    job.future.set_exception(RuntimeError("a reward is not finite"))

    def _plant(self, jobs: list[Job]) -> list[tuple[list[Job], Forest]]:
        """Return the trees of all jobs together or, if one is refused, of each by itself."""
        try:
            return [(jobs, self._encode(jobs))]
        except UserError as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(UserError(_reason(error)))
                return []
        return [part for job in jobs for part in self._plant([job])]

    def _encode(self, jobs: list[Job]) -> Forest:
        responses = [response for job in jobs for response in job.responses]
        prompts = {item.prompt for item in responses if isinstance(item.prompt, ChatPrompt)}
        names = (name for prompt in prompts for name in json.loads(prompt.arguments))
        if unused := self._scorer.model.template.unused(names):
            raise UserError(f"the chat template does not read `{unused[0]:.40}`: leave it out")
        forest = Forest.plant(self._scorer.model, responses, self._scorer.max_length)
        if (length := max(forest.lengths)) > self._longest:
            raise UserError(
                f"a prompt with its response has {length} tokens; this server takes at most "
                f"{self._longest}"
            )
        self._scorer.model.check_readable(forest.trees)
        micro_batches(forest.trees, self._scorer.token_budget, self._scorer.model.device)
        return forest


def _size(job: Job | None) -> int:
    return len(job.responses) if job else 0


def _reason(error: UserError) -> str:
    return error.reason if isinstance(error, BadRecordError) else str(error)
