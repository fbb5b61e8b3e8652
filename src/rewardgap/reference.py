"""Log-probabilities under the reference model, computed once and kept on disk."""

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn
from transformers import PreTrainedModel

from rewardgap.backbone import Vocabulary, check_readable, hidden_states, load_model
from rewardgap.devices import autocast
from rewardgap.errors import UserError
from rewardgap.kinds.reward_model import Leaves
from rewardgap.models import fingerprint
from rewardgap.progress import progress
from rewardgap.storage import whole_file
from rewardgap.template import Template
from rewardgap.trees import Tree, micro_batches, pack

logger = logging.getLogger(__name__)


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
        token_budget: tokens computed at once.
        cache: the folder of cached log-probabilities.
        products: precision of the matrix products, where it is another than the weights'.
    """

    def __init__(
        self,
        folder: Path,
        template: Template,
        dtype: torch.dtype,
        device: torch.device,
        token_budget: int,
        cache: Path,
        products: torch.dtype | None = None,
    ):
        self.folder = folder
        self.template = template
        self.dtype = dtype
        self.products = products or dtype
        self.device = device
        self.token_budget = token_budget
        self.cache = cache / "reference"
        self.fingerprint = fingerprint(folder)

    def log_probs(self, trees: Sequence[Tree]) -> list[np.ndarray]:
        """Reference log-probabilities of every leaf's tokens, from the cache where it has them.

        Returns:
            for each tree an (R,) float32 array, leaf after leaf.
        """
        sizes = [sum(len(tree.nodes[leaf]) for leaf in tree.leaves) for tree in trees]
        path = self.cache / f"{self._key(trees)}.safetensors"
        values = _read(path, sum(sizes))
        if values is None:
            values = np.concatenate(self.compute(trees))
            with whole_file(path) as unfinished:
                save_file({"log_probs": values}, unfinished, metadata={"sha256": _checksum(values)})
        return np.split(values, np.cumsum(sizes)[:-1])

    def compute(self, trees: Sequence[Tree]) -> list[np.ndarray]:
        """The same values, computed and not kept."""
        model = self._model
        check_readable(model, trees)
        vocabulary = Vocabulary(model)
        values: dict[int, np.ndarray] = {}
        groups = micro_batches(trees, self.token_budget)
        for group in progress(groups, "reference log-probabilities"):
            batch = pack([trees[i] for i in group]).to(self.device)
            with torch.no_grad(), autocast(self.device, self.dtype, self.products):
                leaves = Leaves(hidden_states(model, batch), batch)
                log_probs = vocabulary.log_probs(leaves.before, batch.response_tokens)
            ends = np.cumsum([sum(len(trees[i].nodes[n]) for n in trees[i].leaves) for i in group])
            values |= zip(group, np.split(log_probs.cpu().numpy(), ends[:-1]), strict=True)
        return [values[i] for i in range(len(trees))]

    def release(self) -> None:
        """Free the model's memory; it is loaded again if it is asked for again."""
        self.__dict__.pop("_model", None)

    @cached_property
    def _model(self) -> PreTrainedModel:
        own = Template.load(self.folder)
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
        digest = hashlib.sha256(f"{self.fingerprint} {self.dtype} {self.products}".encode())
        for tree in trees:
            digest.update(repr((tree.parents, [len(node) for node in tree.nodes])).encode())
            for node in tree.nodes:
                digest.update(np.asarray(node, dtype=np.int64).tobytes())
        return digest.hexdigest()[:32]


def _same_tokens(first: Template, second: Template) -> bool:
    """Whether two tokenizers write every text alike; added tokens that one lacks may differ."""
    words, others = (template.tokenizer.get_vocab() for template in (first, second))
    return all(others[word] == token for word, token in words.items() if word in others) and (
        min(len(words), len(others)) <= len(words.keys() & others.keys())
    )


def _read(path: Path, size: int) -> np.ndarray | None:
    """The values of a cache entry, or None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            values: np.ndarray = file.get_tensor("log_probs")
            checksum = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError):
        checksum = None
    if checksum is None or len(values) != size or _checksum(values) != checksum:
        logger.warning("the cache entry %s is damaged; it is computed again", path)
        return None
    return values


def _checksum(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
