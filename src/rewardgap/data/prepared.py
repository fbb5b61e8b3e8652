"""Records and token trees that several runs have in common, made once.

Evaluation sets are in memory, for the runs of one process. Training data may be too large for that:
their trees are in the cache folder, for the runs of all processes.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

from rewardgap.configs.compute import Identical
from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.load import data_fingerprint, load, stream
from rewardgap.data.records import Record
from rewardgap.data.tree_store import FORMAT, StoredTrees, write_trees
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder, cache_key
from rewardgap.io.progress import progress
from rewardgap.io.tables import is_intact

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Number of records that are tokenised together."""

Data = tuple[str | tuple[str, ...], Identical]
"""The arguments of `load`: what names the data, and what happens to identical pairs."""

TrainingData: TypeAlias = TrainConfig | ForecastConfig
"""What names training data and says how they are read."""


class PreparedData:
    """Records, trees and baselines that were read and computed before.

    Data that change on disk in the meantime are not read again: make a new object for every grid.
    """

    def __init__(self) -> None:
        self._trees: dict[tuple[Data, str], list[Tree]] = {}
        self._load = cache(load)
        self._fit = cache(lambda *data: BagOfWords.fit(stream(*data)))
        self._fingerprint = cache(data_fingerprint)

    def records(self, spec: str | Sequence[str], identical: Identical) -> list[Record]:
        """Return the records of an evaluation set."""
        return self._load(*_data(spec, identical))

    def evaluation_trees(
        self,
        encoder: ChatEncoding,
        spec: str | Sequence[str],
        identical: Identical,
        max_length: int | None,
    ) -> list[Tree]:
        """Return the trees of an evaluation set, which kinds of one encoding share."""
        key = (_data(spec, identical), encoder.key(max_length))
        if key not in self._trees:
            self._trees[key] = encoder.encode(self.records(spec, identical), max_length)
        return self._trees[key]

    def check(self, config: TrainingData) -> None:
        """Read all records, so that a wrong one is refused before anything is written.

        Training records are not read again if trees were made of the same data before.
        """
        for spec in config.eval.values():  # first, for they are small
            self.records(spec, config.identical_pairs)
        if not any(self._folder(config).glob("*.rows")):
            for _ in _stream(config, "reading"):
                pass

    def training_trees(self, encoder: ChatEncoding, config: TrainingData) -> StoredTrees:
        """Return the trees of the training records, from the cache if they are there.

        They are named by what determines them: the content of the data, the encoding, its options
        and the template. A damaged file is made again.

        Raises:
            UserError: A record is wrong, truncation makes responses identical and the configuration
                has that refused, or leaves no record.
        """
        path = self._folder(config) / f"{encoder.key(config.max_length)}.rows"
        if not is_intact(path):
            records = iter(_stream(config, "tokenising"))
            chunks = iter(lambda: list(islice(records, CHUNK)), [])
            encoded = (encoder.encode_for_training(chunk, config.max_length) for chunk in chunks)
            write_trees(path, chain.from_iterable(encoded))
        trees = StoredTrees(path)
        _check_truncation(trees, config)
        return trees

    def bag_of_words(self, config: TrainingData) -> BagOfWords:
        """Return the content-blind baseline of the training records."""
        return self._fit(*_data(config.train, config.identical_pairs))

    def fingerprint(self, spec: str | Sequence[str], config: TrainingData) -> str:
        """Return a hash of the content of data."""
        named, _ = _data(spec, config.identical_pairs)
        return self._fingerprint(named, cache_folder(config.cache) / "hashes")

    def _folder(self, config: TrainingData) -> Path:
        """Return the folder of all trees of the training data."""
        folder = cache_folder(config.cache)
        content = self.fingerprint(config.train, config)
        parts = (FORMAT, version("rewardgap"), config.identical_pairs, content)
        return folder / "trees" / cache_key(*parts)


@dataclass(frozen=True)
class RunData:
    """The data of one training run, read and tokenised.

    Attributes:
        config: What names the data.
        encoder: How the run's kind writes records.
        shared: Records and trees of all runs on the same data.
        training: Trees of the training records.
        evaluation: Trees of the evaluation sets by name.
    """

    config: TrainingData
    encoder: ChatEncoding
    shared: PreparedData
    training: StoredTrees
    evaluation: Mapping[str, list[Tree]]

    @classmethod
    def open(cls, config: TrainingData, encoder: ChatEncoding, shared: PreparedData) -> "RunData":
        """Read, check and tokenise all data of a run.

        Raises:
            UserError: A record is wrong, or truncation leaves too little of the training records.
        """
        evaluation = {
            name: shared.evaluation_trees(encoder, spec, config.identical_pairs, config.max_length)
            for name, spec in config.eval.items()
        }
        training = shared.training_trees(encoder, config)
        return cls(config, encoder, shared, training, evaluation)

    def evaluation_set(
        self, name: str, encoder: ChatEncoding, max_length: int | None
    ) -> tuple[list[Record], list[Tree]]:
        """Return the records of an evaluation set, and their trees as `encoder` writes them."""
        data = self.config.eval[name], self.config.identical_pairs
        trees = self.shared.evaluation_trees(encoder, *data, max_length)
        return self.shared.records(*data), trees

    def bag_of_words(self) -> BagOfWords:
        """Return the content-blind baseline of the training records."""
        return self.shared.bag_of_words(self.config)


def _check_truncation(trees: StoredTrees, config: TrainingData) -> None:
    """Warn about truncated records; raise if truncation makes pairs identical or leaves none."""
    summary = trees.summary
    if summary.truncated:
        logger.warning(
            "%d of %d training records were truncated", summary.truncated, summary.records
        )
    if summary.identical and config.identical_pairs == "refuse":
        raise UserError(
            f"max_length {config.max_length} makes chosen and rejected identical in "
            f"{summary.identical} of {summary.records} records, first {summary.first_identical}: "
            "raise max_length, or leave such records out with --identical_pairs drop"
        )
    if summary.identical:
        logger.warning("%d training records left out: identical once truncated", summary.identical)
    if not trees:
        raise UserError(f"max_length {config.max_length} leaves no record to train on")


def _data(spec: str | Sequence[str], identical: Identical) -> Data:
    return (spec if isinstance(spec, str) else tuple(spec), identical)


def _stream(config: TrainingData, label: str) -> Iterable[Record]:
    """Return the training records, counted on a terminal."""
    return progress(stream(config.train, config.identical_pairs), label, unit=" records")
