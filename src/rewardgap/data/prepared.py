"""Records and token trees that several runs have in common, made once.

Evaluation sets are in memory, for the runs of one process. Training data may be too large for that:
their trees are in the cache folder, for the runs of all processes.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

from rewardgap.configs.compute import BadRecords, ComputeConfig, Identical
from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.dropped import (
    TRAINING,
    Dropped,
    DroppedRecord,
    encode_usable,
    new_list,
    usable_records,
    warn_of_moved,
)
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
UNIT = "records"

Data = tuple[str | tuple[str, ...], Identical, BadRecords]
"""What names the data, and what happens to identical pairs and to bad records."""

TrainingData: TypeAlias = TrainConfig | ForecastConfig
"""What names training data and says how they are read."""


class PreparedData:
    """Records, trees and baselines that were read and computed before.

    Data that change on disk in the meantime are not read again: make a new object for every grid.
    """

    def __init__(self) -> None:
        self._records: dict[Data, tuple[list[Record], Dropped]] = {}
        self._trees: dict[tuple[Data, str], tuple[list[Tree], Dropped]] = {}
        self._fit = cache(_fit_baseline)
        self._fingerprint = cache(data_fingerprint)

    def records(self, spec: str | Sequence[str], config: ComputeConfig) -> list[Record]:
        """Return the records of an evaluation set that can be read."""
        return self._read(_data(spec, config))[0]

    def _read(self, data: Data) -> tuple[list[Record], Dropped]:
        if data not in self._records:
            spec, identical, bad_records = data
            dropped = new_list(bad_records)
            self._records[data] = load(spec, identical, dropped), dropped or []
        return self._records[data]

    def evaluation_trees(
        self,
        encoder: ChatEncoding,
        spec: str | Sequence[str],
        config: ComputeConfig,
        max_length: int | None,
    ) -> list[Tree]:
        """Return the trees of an evaluation set, which kinds of one encoding share."""
        return self._encode(encoder, _data(spec, config), max_length)[0]

    def evaluation_set(
        self,
        encoder: ChatEncoding,
        spec: str | Sequence[str],
        config: ComputeConfig,
        max_length: int | None,
    ) -> tuple[list[Record], list[Tree]]:
        """Return the records of an evaluation set that can be used, and their trees."""
        records, trees = (
            self.records(spec, config),
            self.evaluation_trees(encoder, spec, config, max_length),
        )
        return records if len(records) == len(trees) else usable_records(records, trees), trees

    def dropped(self, encoder: ChatEncoding, spec: str, config: TrainingData) -> Dropped:
        """Return the records of an evaluation set that could not be read or written."""
        data = _data(spec, config)
        return self._read(data)[1] + self._encode(encoder, data, config.max_length)[1]

    def _encode(
        self, encoder: ChatEncoding, data: Data, max_length: int | None
    ) -> tuple[list[Tree], Dropped]:
        key = (data, encoder.key(max_length))
        if key not in self._trees:
            records, dropped = self._read(data)[0], new_list(data[2])
            trees = encode_usable(encoder.encode, records, max_length, dropped)
            self._trees[key] = trees, dropped or []
        return self._trees[key]

    def check(self, config: TrainingData) -> None:
        """Read all records, so that a wrong one is refused before anything is written.

        Training records are not read again if trees were made of the same data before.
        """
        for spec in config.eval.values():  # first, for they are small
            self.records(spec, config)
        if not any(self._folder(config).glob("*.rows")):
            for _ in progress(_stream(config, new_list(config.bad_records)), "reading", unit=UNIT):
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
            dropped = new_list(config.bad_records)
            records = iter(_stream(config, dropped))
            chunks = iter(lambda: list(islice(records, CHUNK)), [])
            encode = partial(encode_usable, encoder.trees_for_training)
            encoded = (encode(chunk, config.max_length, dropped) for chunk in chunks)
            trees = progress(chain.from_iterable(encoded), "tokenising", unit=UNIT)
            write_trees(path, trees, () if dropped is None else dropped)
        stored = StoredTrees(path)
        _check_trees(stored, config)
        return stored

    def bag_of_words(
        self, config: TrainingData, left_out: frozenset[str] = frozenset()
    ) -> BagOfWords:
        """Return the bag of words of the training records but those of these ids."""
        return self._fit(_data(config.train, config), left_out)

    def fingerprint(self, spec: str | Sequence[str], config: TrainingData) -> str:
        """Return a hash of the content of data."""
        named, *_ = _data(spec, config)
        return self._fingerprint(named, cache_folder(config.cache) / "hashes")

    def _folder(self, config: TrainingData) -> Path:
        """Return the folder of all trees of the training data."""
        folder = cache_folder(config.cache)
        _, *treatment = _data(config.train, config)
        content = self.fingerprint(config.train, config)
        return folder / "trees" / cache_key(FORMAT, version("rewardgap"), treatment, content)


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
            name: shared.evaluation_trees(encoder, spec, config, config.max_length)
            for name, spec in config.eval.items()
        }
        training = shared.training_trees(encoder, config)
        return cls(config, encoder, shared, training, evaluation)

    def evaluation_set(
        self, name: str, encoder: ChatEncoding, max_length: int | None
    ) -> tuple[list[Record], list[Tree]]:
        """Return the records of an evaluation set, and their trees as `encoder` writes them."""
        spec = self.config.eval[name]
        return self.shared.evaluation_set(encoder, spec, self.config, max_length)

    @property
    def dropped(self) -> dict[str, Dropped]:
        """The records that could not be used, of the training data and of each evaluation set."""
        training = [DroppedRecord(*entry) for entry in self.training.summary.dropped]
        evaluation = {
            name: self.shared.dropped(self.encoder, spec, self.config)
            for name, spec in self.config.eval.items()
        }
        return {TRAINING: training, **evaluation}

    def bag_of_words(self) -> BagOfWords:
        """Return the bag of words of the training records."""
        left_out = frozenset(record for record, _ in self.training.summary.dropped)
        return self.shared.bag_of_words(self.config, left_out)


def _check_trees(trees: StoredTrees, config: TrainingData) -> None:
    """Warn about moved and truncated records; raise if pairs are identical or none is left."""
    summary = trees.summary
    if summary.moved:
        warn_of_moved(summary.moved, summary.records, summary.first_moved)
    if summary.truncated:
        logger.warning(
            "%d of %d training records were truncated", summary.truncated, summary.records
        )
    cause, remedy = f"max_length {config.max_length}", "raise max_length"
    if summary.identical_untruncated:
        several = summary.identical_untruncated < summary.identical
        cause = f"the chat template or {cause}" if several else "the chat template"
        remedy = "choose another template"
    if summary.identical and config.identical_pairs == "refuse":
        raise UserError(
            f"{cause} makes chosen and rejected identical in {summary.identical} of "
            f"{summary.records} records, first {summary.first_identical}: {remedy}, or leave such "
            "records out with `identical_pairs: drop`"
        )
    if summary.identical:
        logger.warning("%d training records left out: identical by %s", summary.identical, cause)
    if not trees:
        if summary.dropped:
            record, reason = summary.dropped[0]
            cause = f"bad_records: drop ({record}: {reason})"
        raise UserError(f"{cause} leaves no record to train on")


def _data(spec: str | Sequence[str], config: ComputeConfig) -> Data:
    names = spec if isinstance(spec, str) else tuple(spec)
    return names, config.identical_pairs, config.bad_records


def _fit_baseline(data: Data, left_out: frozenset[str]) -> BagOfWords:
    spec, identical, bad_records = data
    records = stream(spec, identical, new_list(bad_records))
    return BagOfWords.fit(record for record in records if record.id not in left_out)


def _stream(config: TrainingData, dropped: Dropped | None) -> Iterable[Record]:
    return stream(config.train, config.identical_pairs, dropped)
