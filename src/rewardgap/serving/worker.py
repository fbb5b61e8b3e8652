"""The threads that compute rewards, of all requests that wait together."""

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
from typing import Any

import torch

from rewardgap.configs.serving import ServeConfig
from rewardgap.errors import BadRecordError, UserError
from rewardgap.models.packing import micro_batches
from rewardgap.scoring.responses import ChatPrompt, Forest, PromptedResponse
from rewardgap.scoring.scorer import Scorer
from rewardgap.serving.shapes import Rewarded

logger = logging.getLogger(__name__)

AT_ONCE = 512
"""Responses after which no further request joins a batch."""
CPU_BATCHES = 2
"""Batches that a processor computes at once, each on its share of the cores: small products gain
little from many cores, and while one batch is tokenised and answered another one is computed."""


@dataclass(frozen=True, eq=False)
class Job:
    """The responses of a request, and where its rewards are awaited."""

    responses: Sequence[PromptedResponse]
    future: "Future[Rewarded]" = field(default_factory=Future)


class Worker:
    """Computes rewards in batches of whatever waits; equal prompts are computed once."""

    def __init__(self, scorer: Scorer, config: ServeConfig, observe: Callable[[int], None]):
        """Start the threads; `observe` is given the number of requests of every batch."""
        self._wait, self._observe = config.wait, observe
        model = scorer.model.language_model
        self._longest = config.max_tokens or (model.longest if model else sys.maxsize)
        self._jobs: Queue[Job | None] = Queue(config.queue)
        self._held: list[Job] = []
        self._gathering = threading.Lock()
        self._busy: set[int] = set()
        self._cores = torch.get_num_threads()
        count = min(CPU_BATCHES, self._cores) if scorer.model.device.type == "cpu" else 1
        scorers = [scorer, *(scorer.for_another_thread() for _ in range(1, count))]
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=f"rewards {i}", daemon=True)
            for i, one in enumerate(scorers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, responses: Sequence[PromptedResponse]) -> "Future[Rewarded]":
        """Have responses rewarded, or raise `queue.Full`; the future may raise a `UserError`."""
        job = Job(responses)
        self._jobs.put_nowait(job)
        return job.future

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return self._jobs.qsize() + len(self._held)

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, scorer: Scorer) -> None:
        while True:
            with self._gathering:
                batch = self._gather()
                self._busy.add(threading.get_ident())
                # A batch alone has all cores.
                torch.set_num_threads(max(1, self._cores // len(self._busy)))
            if not batch:
                return
            jobs = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._observe(len(jobs))
                self._compute(scorer, jobs)
            self._busy.discard(threading.get_ident())

    def _gather(self) -> list[Job]:
        """Return what waits, divided among the threads that are idle; nothing at the end.

        Requests about the same prompt stay together.
        """
        if not self._held and self._hold(self._jobs.get()):
            latest = time.monotonic() + self._wait
            while sum(len(job.responses) for job in self._held) < AT_ONCE:
                try:
                    job = self._jobs.get(timeout=max(0.0, latest - time.monotonic()))
                except Empty:
                    break
                if not self._hold(job):
                    break
        share = len(self._held) / (len(self._threads) - len(self._busy))
        groups: dict[Any, list[Job]] = {}
        for job in self._held:
            groups.setdefault(job.responses[0].prompt, []).append(job)
        batch: list[Job] = []
        while groups and len(batch) < share:
            batch += groups.pop(next(iter(groups)))
        self._held = [job for group in groups.values() for job in group]
        return batch

    def _hold(self, job: Job | None) -> bool:
        """Keep a job for the next batches; return False if it is none, the end."""
        if job:
            self._held.append(job)
        else:
            self._jobs.put(None)  # for the other threads
        return job is not None

    def _compute(self, scorer: Scorer, jobs: list[Job]) -> None:
        """Give every job its rewards or its error."""
        try:
            self._answer(scorer, jobs)
        except Exception:  # such as a GPU without memory; the next batch may be smaller
            logger.exception("a batch of %d requests could not be computed", len(jobs))
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(RuntimeError("the rewards could not be computed"))

    def _answer(self, scorer: Scorer, jobs: list[Job]) -> None:
        parts = self._plant(scorer, jobs)
        trees = [tree for _, forest in parts for tree in forest.trees]
        rewards = iter(scorer.compute(trees) if trees else [])
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

    def _plant(self, scorer: Scorer, jobs: list[Job]) -> list[tuple[list[Job], Forest]]:
        """Return the trees of all jobs together or, if one is refused, of each by itself."""
        try:
            return [(jobs, self._encode(scorer, jobs))]
        except UserError as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(UserError(_reason(error)))
                return []
        return [part for job in jobs for part in self._plant(scorer, [job])]

    def _encode(self, scorer: Scorer, jobs: list[Job]) -> Forest:
        responses = [response for job in jobs for response in job.responses]
        prompts = {item.prompt for item in responses if isinstance(item.prompt, ChatPrompt)}
        names = (name for prompt in prompts for name in json.loads(prompt.arguments))
        if unused := scorer.model.template.unused(names):
            raise UserError(f"the chat template does not read `{unused[0]:.40}`: leave it out")
        forest = Forest.plant(scorer.model, responses, scorer.max_length)
        if (length := max(forest.lengths)) > self._longest:
            raise UserError(
                f"a prompt with its response has {length} tokens; this server takes at most "
                f"{self._longest}"
            )
        scorer.model.check_readable(forest.trees)
        micro_batches(forest.trees, scorer.token_budget, scorer.model.device)
        return forest


def _reason(error: UserError) -> str:
    return error.reason if isinstance(error, BadRecordError) else str(error)
