"""Log-probabilities under the reference model, computed once and kept on disk."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow
import torch
from torch import nn
from transformers import PreTrainedModel

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.tree_store import content_of
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.cache import cache_key
from rewardgap.io.progress import progress
from rewardgap.io.tables import MappedTable, is_intact, write_table
from rewardgap.models.devices import autocast
from rewardgap.models.hub import fingerprint
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.language_model import Vocabulary, check_readable, hidden_states, load_model
from rewardgap.models.packing import Pack, map_trees

CHUNK = 4096
"""trees whose log-probabilities are in memory together"""
ROWS = pyarrow.list_(pyarrow.float32())
SCHEMA = pyarrow.schema([("log_probs", ROWS)])


class StoredLogProbs(Sequence[np.ndarray]):
    """Log-probabilities in a file, read tree by tree as (R,) float32 arrays."""

    def __init__(self, path: Path):
        self._table = MappedTable(path)

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        log_probs: np.ndarray = self._table.cell("log_probs", index).values.to_numpy()
        return log_probs.copy()


class Reference:
    """The initial language model π_ref of an implicit reward model.

    A cache entry is named by what determines it: the model's weights, the precision and every
    token of the trees. It is thus shared by all runs, seeds and β, and can never be stale; an
    entry whose content does not match its own checksum is computed again.

    Args:
        folder: the model's directory.
        template: the template that the trees were written with.
        dtype: precision of the weights.
        device: where the forward passes are computed.
        token_budget: tokens computed at once; None for as many as suit the device.
        cache: the folder of cached log-probabilities.
        compute_dtype: precision of the matrix products, where it is another than the weights'.
    """

    def __init__(
        self,
        folder: Path,
        template: ChatTemplate,
        dtype: torch.dtype,
        device: torch.device,
        token_budget: int | None,
        cache: Path,
        compute_dtype: torch.dtype | None = None,
    ):
        self.folder = folder
        self.template = template
        self.dtype = dtype
        self.compute_dtype = compute_dtype or dtype
        self.device = device
        self.token_budget = token_budget
        self.cache = cache / "reference"
        self.fingerprint = fingerprint(folder)

    def log_probs(self, trees: Sequence[Tree]) -> Sequence[np.ndarray]:
        """Reference log-probabilities of every leaf's tokens, from the cache where it has them.

        They are computed and written chunk by chunk, and read from the disk one by one, so that
        memory does not grow with the number of trees.

        Returns:
            for each tree an (R,) float32 array, leaf after leaf.
        """
        path = self.cache / f"{self._key(trees)}.rows"
        if not is_intact(path):
            self._model  # noqa: B018 (a wrong one is refused before anything is written)
            starts = range(0, len(trees), CHUNK)
            with write_table(path, SCHEMA) as writer:
                for start in progress(starts, "chunks of records"):
                    values = pyarrow.array(self.compute(trees[start : start + CHUNK]), ROWS)
                    writer.write_batch(pyarrow.record_batch([values], SCHEMA))
        return StoredLogProbs(path)

    def compute(self, trees: Sequence[Tree]) -> list[np.ndarray]:
        """The same values, computed and not kept."""
        model = self._model
        check_readable(model, trees)
        vocabulary = Vocabulary(model)

        def log_probs(batch: Pack, trees: Sequence[Tree]) -> list[np.ndarray]:
            with torch.no_grad(), autocast(self.device, self.dtype, self.compute_dtype):
                states = ResponseStates(hidden_states(model, batch), batch)
                values = vocabulary.log_probs(states.predicting_states, batch.response_tokens)
            ends = np.cumsum([sum(len(tree.nodes[leaf]) for leaf in tree.leaves) for tree in trees])
            return np.split(values.cpu().numpy(), ends[:-1])

        label = "reference log-probabilities"
        return map_trees(trees, log_probs, self.token_budget, self.device, label)

    def release(self) -> None:
        """Free the model's memory; it is loaded again if it is asked for again."""
        self.__dict__.pop("_model", None)

    @cached_property
    def _model(self) -> PreTrainedModel:
        own = ChatTemplate.load(self.folder)
        if not _same_tokens(own, self.template):
            raise UserError(
                f"the reference {self.folder} has another tokenizer than the reward model; "
                "its log-probabilities would be of other tokens"
            )
        model = load_model(self.folder, own, dtype=self.dtype)
        nn.Module.to(model, self.device)
        model.eval()
        return model

    def _key(self, trees: Sequence[Tree]) -> str:
        return cache_key(self.fingerprint, self.dtype, self.compute_dtype, content_of(trees))


def _same_tokens(first: ChatTemplate, second: ChatTemplate) -> bool:
    """Whether two tokenizers write every text alike; added tokens that one lacks may differ."""
    words, others = (template.tokenizer.get_vocab() for template in (first, second))
    return all(others[word] == token for word, token in words.items() if word in others) and (
        min(len(words), len(others)) <= len(words.keys() & others.keys())
    )
