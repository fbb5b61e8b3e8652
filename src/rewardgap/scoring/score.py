"""A score file of data: rewards from any model, computed here or by workers on a Ray cluster."""

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from socket import gethostname
from typing import Any

import torch

from rewardgap.configs.compute import refuse_keys_of_others
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.dropped import Dropped, new_list, read_dropped, usable_records, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load, stream
from rewardgap.data.records import Record
from rewardgap.errors import UserError, first_line, reported
from rewardgap.evaluation.returned import ScoreResult
from rewardgap.evaluation.scores import score_row, write_scores
from rewardgap.evaluation.unlabelled import is_unlabelled, write_rewards
from rewardgap.io.files import refuse_existing
from rewardgap.io.progress import progress
from rewardgap.io.ray_cluster import cause_of, enter, find_ray, joined, needs_of, places
from rewardgap.io.run_folder import Run
from rewardgap.models.processes import launched
from rewardgap.models.saved import RewardScale, save_scale
from rewardgap.scoring.rater import Rated, RatedRecord, Rater
from rewardgap.scoring.scorer import open_rater

logger = logging.getLogger(__name__)

CHUNK = 64
"""Records that a worker has at a time; with none, it only opens the model."""
LOSSES = 3
"""Workers that may be lost one after the other with the same records, or as they open the model."""


def rate_here(config: ScoreConfig, dropped: Dropped | None) -> tuple[bool, Generator[RatedRecord]]:
    """Return whether data have no labels, and what yields their records with rewards.

    Of the processes that a launcher has started, only the main one yields.
    """
    records = load(config.data, config.identical_pairs, dropped, unlabelled=True)

    def rated() -> Generator[RatedRecord]:
        with launched(config.device) as processes:
            rated = open_rater(config, processes).rate(records, dropped)
        if processes.is_main:
            yield from zip(rated.records, rated.trees, rated.rewards, strict=True)

    return is_unlabelled(records), rated()


class RayWorker:
    """A process of the cluster that rates chunk after chunk."""

    rater: Rater | None = None

    def __init__(self, config: ScoreConfig, directory: str, threads: int):
        self.config, self.directory, self.threads = config, directory, threads

    def rate(self, records: Sequence[Record]) -> tuple[Rated, Dropped]:
        """Return records with their rewards and with trees without tokens, and those dropped."""
        self.rater = self.rater or self._open()
        dropped, rated = new_list(self.config.bad_records), Rated((), (), [])
        try:
            rated = self.rater.rate(records, dropped) if records else rated
        except UserError as error:
            if len(dropped or ()) < len(records):
                raise UserError(str(error)) from None  # not every kind of it can be sent
        trees = [replace(tree, nodes=(), parents=()) for tree in rated.trees]
        return replace(rated, trees=trees), dropped or []

    def _open(self) -> Rater:
        torch.set_num_threads(self.threads)
        with reported(UserError, f"the worker on {gethostname()}: "):
            enter(self.directory)
            rater = open_rater(self.config, in_parts=True)
        logging.getLogger("rewardgap").setLevel(logging.ERROR)  # or each chunk would be told of
        return rater


def rate_on_ray(
    config: ScoreConfig, dropped: Dropped | None
) -> tuple[bool, Generator[RatedRecord]]:
    """Return whether data have no labels, and what yields their records with rewards.

    Records are read here as workers need them: no process holds all.

    Raises:
        UserError: There is no cluster, or the data cannot be read.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("executor: Ray starts its processes itself; leave out torchrun")
    ray = find_ray(config.address)
    records = stream(config.data, config.identical_pairs, dropped, unlabelled=True)
    first = next(records)
    rest = chain([first], records)
    chunks = iter(lambda: list(islice(rest, CHUNK)), list[Record]())

    def parts() -> Iterator[Iterator[RatedRecord]]:
        unusable: Dropped = []
        count, truncated = 0, 0
        for rated, further in _in_order(ray, config, chunks):
            is_unlabelled([first, *rated.records])
            unusable += further
            count += len(rated.trees)
            truncated += sum(tree.truncated for tree in rated.trees)
            yield zip(rated.records, rated.trees, rated.rewards, strict=True)
        if not count:
            usable_records([first], [])  # refuses that none is left
        if dropped is not None:
            dropped.extend(unusable)
        if truncated:
            logger.warning("%d of %d records were truncated", truncated, count)

    def rated() -> Generator[RatedRecord]:
        with joined(ray, config.address):
            yield from progress(chain.from_iterable(parts()), "scoring", unit="records")

    return is_unlabelled([first]), rated()


def _in_order(
    ray: Any, config: ScoreConfig, chunks: Iterator[list[Record]]
) -> Iterator[tuple[Rated, Dropped]]:
    """Yield what workers make of chunks, in order; that of a lost worker is done by another one.

    Ray Data does so too, but a lost machine that nothing replaces may hold up all that follows.
    """
    needs = needs_of(ray, config.cpus_per_worker, config.gpus_per_worker)
    actor = ray.remote(**needs)(RayWorker)
    given: dict[Any, tuple[Any, int, list[Record]]] = {}
    finished: dict[int, tuple[Rated, Dropped]] = {}
    waiting, losses, due = enumerate(chunks), Counter[int](), 0

    def start() -> None:
        worker = actor.remote(config, os.getcwd(), int(needs["num_cpus"]))
        given[worker.rate.remote([])] = worker, -1, []

    for _ in places(ray, needs) or ["one to come"]:
        start()
    while True:
        (ended, *_), _ = ray.wait(list(given), num_returns=1)
        worker, number, chunk = given.pop(ended)
        try:
            finished[number] = ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            raise cause_of(error) from None
        except ray.exceptions.RayError as error:  # the worker or its machine is lost
            losses[number] += 1
            if losses[number] > LOSSES:
                raise UserError(f"workers are lost again and again: {first_line(error)}") from error
            waiting = chain([(number, chunk)] if chunk else [], waiting)
            start()
            continue
        losses.pop(number, None)
        while due in finished:
            yield finished.pop(due)
            due += 1
        number, chunk = next(waiting, (-1, []))
        if chunk:
            given[worker.rate.remote(chunk)] = worker, number, chunk
        elif not any(chunk for *_, chunk in given.values()):
            return  # whoever is left opens a model that nobody needs


EXECUTORS = {"local": rate_here, "ray": rate_on_ray}
KEYS = {"local": (), "ray": ("address", "cpus_per_worker", "gpus_per_worker")}
"""By executor, the keys of `ScoreConfig` that not all of them take."""


@by_keywords(ScoreConfig)
def score(config: ScoreConfig) -> ScoreResult:
    """Write the score file that a configuration asks for, whole or not at all.

    Started by `torchrun` or `accelerate launch`, processes share the work, and one writes.

    Raises:
        UserError: The model or the data cannot be read, or the file cannot be written.
    """
    path = Path(config.out)
    refuse_existing(path, config.overwrite)
    refuse_keys_of_others(config, KEYS)
    dropped = new_list(config.bad_records)
    unlabelled, rated = EXECUTORS[config.executor](config, dropped)
    baseline = None if unlabelled else _bag_of_words(config)
    with closing(rated):
        first = next(rated, None)
        if first is None:  # another process writes
            return ScoreResult(path)
        members = [first, *rated] if config.save_scale else chain([first], rated)
        if unlabelled:
            write_rewards(path, members)
        else:
            write_scores(path, (score_row(*member, baseline) for member in members))
    write_dropped(Path(f"{path}.dropped.jsonl"), {config.data: dropped})
    if config.save_scale:
        save_scale(config.model, RewardScale.of([rewards for *_, rewards in members], config.data))
    return ScoreResult(path)


def _bag_of_words(config: ScoreConfig) -> BagOfWords | None:
    """Return the baseline of the named training data, or of the run's, if they are still there."""
    if config.train:
        return BagOfWords.fit(stream(config.train, "drop", new_list(config.bad_records)))
    run = Run(Path(config.model))
    settings = run.read_config() if run.config.exists() else {}
    training, dropped = settings.get("train"), new_list(settings.get("bad_records", "refuse"))
    try:
        if not training:
            return None
        left_out = read_dropped(run.dropped)
        records = stream(training, "drop", dropped)
        return BagOfWords.fit(record for record in records if record.id not in left_out)
    except UserError as error:
        logger.warning("no bag-of-words baseline, name the training data with --train: %s", error)
        return None
