"""Log-probabilities under the reference model, computed once and cached on disk."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
from torch import nn

from rewardgap.configs.adapters import Quantisation
from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.templates import TEMPLATES
from rewardgap.data.tree_store import content_of
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.cache import cache_folder, cache_key
from rewardgap.io.progress import progress
from rewardgap.io.tables import MappedTable, is_intact, write_table
from rewardgap.models.devices import autocast
from rewardgap.models.hub import fingerprint
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import Pack, map_trees
from rewardgap.models.processes import ALONE, Processes
from rewardgap.models.quantisation import quantise, require_bitsandbytes

CHUNK = 4096
"""Number of trees whose log-probabilities are in memory together."""
ROWS = pyarrow.list_(pyarrow.float32())
SCHEMA = pyarrow.schema([("log_probs", ROWS)])


class StoredLogProbs(Sequence[np.ndarray]):
    """Log-probabilities in a file, read tree by tree as (R,) float32 arrays."""

    def __init__(self, path: Path):
        self._table = MappedTable(path)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        return self._table.cell("log_probs", index).values.to_numpy().copy()


@dataclass
class Reference:
    """The initial language model π_ref of an implicit reward model.

    A cache entry is named by what determines it: the model's weights, the precision and every
    token of the trees. It is thus shared by all runs, seeds and β, and can never be stale; an
    entry that does not match its checksum is computed again.

    `template` is that of the trees, `compute_dtype` the precision of matrix products and `dtype`
    that of the weights. `adapted` is the reward model itself where it is the initial model with an
    adapter: with this switched off it gives the log-probabilities, and none else is loaded.
    `quantise` says in how many bits the initial model's blocks were in training.
    Several `processes` compute a part each, and the main one writes.
    """

    folder: Path
    template: ChatTemplate
    device: torch.device
    settings: CachedComputeConfig
    compute_dtype: torch.dtype
    dtype: torch.dtype = torch.float32
    adapted: TrainedRewardModel | None = None
    quantise: Quantisation | None = None
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        """Hash the weights."""
        self.fingerprint = fingerprint(self.folder)
        self._model: _Reader | TrainedRewardModel | None = None

    def log_probs(self, trees: Sequence[Tree]) -> Sequence[np.ndarray]:
        """Return log-probabilities of all response tokens, from the cache if they are there.

        For each tree they are an (R,) float32 array, response after response. They are computed
        and written chunk by chunk, and read from the disk one by one, so that memory does not grow
        with the number of trees.
        """
        quantised = [self.quantise] if self.quantise else []
        precision = (self.dtype, self.compute_dtype, *quantised)
        key = cache_key(self.fingerprint, *precision, content_of(trees))
        path = cache_folder(self.settings.cache) / "reference" / f"{key}.rows"
        if not self.processes.decide(lambda: is_intact(path)):
            self.load()  # a wrong model is refused before anything is written
            starts = range(0, len(trees), CHUNK)
            writing = write_table(path, SCHEMA) if self.processes.is_main else nullcontext()
            with writing as writer:
                for start in progress(starts, "chunks of records"):
                    values = self.compute(trees[start : start + CHUNK])
                    if writer:
                        batch = pyarrow.record_batch([pyarrow.array(values, ROWS)], SCHEMA)
                        writer.write_batch(batch)
        self.processes.wait()  # until the main one has written it
        if not path.exists():
            raise UserError(
                f"{path} is not there for all processes: name a cache that all computers share "
                "(cache, or $REWARDGAP_CACHE)"
            )
        return StoredLogProbs(path)

    def compute(self, trees: Sequence[Tree]) -> list[np.ndarray]:
        """Return the same values without the cache."""
        reader = self._open()
        reader.language_model.check_readable(trees)

        def log_probs(batch: Pack, trees: Sequence[Tree]) -> list[np.ndarray]:
            cached = not self.processes.shard
            with torch.no_grad(), autocast(self.device, self.dtype, self.compute_dtype, cached):
                values = reader.base_log_probs(batch)
            ends = np.cumsum([sum(len(tree.nodes[leaf]) for leaf in tree.leaves) for tree in trees])
            return np.split(values.cpu().numpy(), ends[:-1])

        budget, label = self.settings.token_budget, "reference log-probabilities"
        return map_trees(trees, log_probs, budget, self.device, label, processes=self.processes)

    def release(self) -> None:
        """Free the model's memory; it is loaded again when it is next needed."""
        self._model = None

    def load(self) -> LanguageModel:
        """Return the model, loaded unless it is in memory.

        Raises:
            UserError: It cannot be loaded, or its tokenizer is not that of the trees.
        """
        return self._open().language_model

    def _open(self) -> "_Reader | TrainedRewardModel":
        if self._model is None and self.adapted is not None:
            self._model = self.adapted
            self.processes.place(self._model, self.device)
        elif self._model is None:
            name = self.template.name  # one of ours may have added tokens, and does so again
            template = ChatTemplate.load(self.folder, name if name in TEMPLATES else None)
            ids, tree_ids = template.tokenizer.get_vocab(), self.template.tokenizer.get_vocab()
            shared = ids.items() & tree_ids.items()
            if len(shared) < min(len(ids), len(tree_ids)):  # either may have further tokens
                raise UserError(
                    f"the reference {self.folder} has another tokenizer than the reward model; "
                    "its log-probabilities would be of other tokens"
                )
            self._model = self.processes.build(lambda: self._read(template))
            self.processes.place(self._model, self.device)
        return self._model

    def _read(self, template: ChatTemplate) -> "_Reader":
        language_model = LanguageModel.load(self.folder, template, dtype=self.dtype)
        if self.quantise:
            require_bitsandbytes(f"the reference is in {self.quantise}", self.device)
            quantise(language_model.model, self.device, self.compute_dtype)
        if not self.processes.shard:  # FSDP2 divides weights of one precision alone
            language_model.keep_matrices_in(self.compute_dtype, trained=True)
        return _Reader(language_model).eval()


class _Reader(nn.Module):
    """A language model as a module, so that processes can share it."""

    def __init__(self, language_model: LanguageModel):
        super().__init__()
        self.language_model = language_model
        self.model = language_model.model

    def base_log_probs(self, pack: Pack) -> torch.Tensor:
        """Return (R,) log-probabilities of response tokens."""
        return self.language_model.base_log_probs(pack)
