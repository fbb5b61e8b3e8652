"""Records and token trees that several runs have in common, made once.

Evaluation sets are in memory, for the runs of one process. Training data may be too large for that:
their trees lie in the cache folder, for the runs of all processes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from rewardgap.configs.compute import Identical
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import data_fingerprint, load, stream
from rewardgap.data.records import Record
from rewardgap.data.tree_store import FORMAT, StoredTrees, write_trees
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder, cache_key
from rewardgap.io.progress import progress
from rewardgap.io.ragged import is_intact

logger = logging.getLogger(__name__)

CHUNK = 1000
"""records that are tokenised together"""

Data = tuple[str | tuple[str, ...], Identical]
"""What `rewardgap.sources.load` is given."""


class Encoder(Protocol):
    """What writes records as trees: a reward model, as far as this room knows it."""

    template: ChatTemplate
    options: Any

    def encode(self, records: Sequence[Record], max_length: int | None = None) -> list[Tree]:
        """Records as token trees for scoring."""

    def encode_for_training(
        self, records: Sequence[Record], max_length: int | None = None
    ) -> list[Tree]:
        """Records as token trees for the loss."""


class TrainingData(Protocol):
    """What names training data and says how they are read: a command's configuration."""

    @property
    def train(self) -> str | list[str]:
        """The specifications."""

    @property
    def identical_pairs(self) -> Identical:
        """What to do with records whose chosen and rejected responses coincide."""

    @property
    def max_length(self) -> int | None:
        """Tokens that sequences are truncated to."""

    @property
    def cache(self) -> str | None:
        """The cache folder."""


class PreparedData:
    """What was read and tokenised before.

    Data that change on disk in the meantime are not read again: make a new one for every grid.
    """

    def __init__(self) -> None:
        self._records: dict[Data, list[Record]] = {}
        self._trees: dict[object, tuple[Sequence[Record], list[Tree]]] = {}
        self._folders: dict[Data, Path] = {}
        self._blind: dict[Data, BagOfWords] = {}

    def records(self, spec: str | Sequence[str], identical: Identical) -> list[Record]:
        """Records of an evaluation set, as `rewardgap.sources.load` gives them."""
        key = _data(spec, identical)
        if key not in self._records:
            self._records[key] = load(spec, identical)
        return self._records[key]

    def encode(
        self, model: Encoder, records: Sequence[Record], max_length: int | None
    ) -> list[Tree]:
        """Trees as the model's `encode` writes them.

        Kinds that write records alike share them, whatever their β and seed.
        """
        key = (_encoding(type(model).encode, model, max_length), id(records))
        if key not in self._trees:
            # The records are kept as well, so that no others can come to have their id.
            self._trees[key] = (records, model.encode(records, max_length))
        return self._trees[key][1]

    def check_training(self, config: TrainingData) -> None:
        """Read all training records, unless trees were made of the same data before.

        Raises:
            UserError: one of them is wrong.
        """
        if not any(self._folder(config).glob("*.rows")):
            for _ in _stream(config, "reading"):
                pass

    def training_trees(self, model: Encoder, config: TrainingData) -> StoredTrees:
        """Trees of the training records, as the model's `encode_for_training` writes them.

        They are named by what determines them: the content of the data, the template, and how the
        kind writes. A damaged file is made again.

        Raises:
            UserError: a record is wrong, truncation makes responses identical and the configuration
                has that refused, or leaves no record.
        """
        name = _encoding(type(model).encode_for_training, model, config.max_length)
        path = self._folder(config) / f"{name}.rows"
        if not is_intact(path):
            records = _stream(config, "tokenising")
            chunks = iter(lambda: list(islice(records, CHUNK)), [])
            encode = model.encode_for_training
            write_trees(path, (t for chunk in chunks for t in encode(chunk, config.max_length)))
        trees = StoredTrees(path)
        _judge(trees, config)
        return trees

    def bag_of_words(self, config: TrainingData) -> BagOfWords:
        """The content-blind baseline of the training records."""
        key = _data(config.train, config.identical_pairs)
        if key not in self._blind:
            self._blind[key] = BagOfWords.fit(stream(config.train, config.identical_pairs))
        return self._blind[key]

    def _folder(self, config: TrainingData) -> Path:
        """Where the trees of the training data are, however they are written."""
        key = _data(config.train, config.identical_pairs)
        if key not in self._folders:
            cache = cache_folder(config.cache)
            content = data_fingerprint(config.train, cache / "hashes")
            name = cache_key(FORMAT, version("rewardgap"), config.identical_pairs, content)
            self._folders[key] = cache / "trees" / name
        return self._folders[key]


def _judge(trees: StoredTrees, config: TrainingData) -> None:
    """Say what truncation has done, and refuse what nothing can be learnt from."""
    if trees.truncated:
        logger.warning("%d of %d training records were truncated", trees.truncated, trees.records)
    if trees.identical and config.identical_pairs == "refuse":
        raise UserError(
            f"max_length {config.max_length} makes chosen and rejected identical in "
            f"{trees.identical} of {trees.records} records, first {trees.first_identical}: raise "
            "max_length, or leave such records out with --identical_pairs drop"
        )
    if trees.identical:
        logger.warning("%d training records left out: identical once truncated", trees.identical)
    if not trees:
        raise UserError(f"max_length {config.max_length} leaves no record to train on")


def _data(spec: str | Sequence[str], identical: Identical) -> Data:
    return (spec if isinstance(spec, str) else tuple(spec), identical)


def _encoding(encode: Callable[..., Any], model: Encoder, max_length: int | None) -> str:
    """A name for how a model writes records, which models of other β and seed share."""
    options = replace(model.options, beta=None)
    how = (encode.__module__, encode.__qualname__, options)
    return cache_key(*how, model.template.fingerprint, max_length)


def _stream(config: TrainingData, label: str) -> Iterator[Record]:
    """Yield the training records, counted on a terminal."""
    yield from progress(stream(config.train, config.identical_pairs), label, unit=" records")
