"""Scoring: one reward for every response, by runs and by models trained elsewhere."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.load import load as load_records
from rewardgap.data.load import stream
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow, score_row, write_scores
from rewardgap.io.cache import cache_folder
from rewardgap.io.run_folder import Run
from rewardgap.models.devices import autocast, choose_device, choose_dtype
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.packing import Pack, map_trees
from rewardgap.models.reference import Reference
from rewardgap.models.saved import (
    SavedRewardModel,
    check_initial_model,
    find_saved,
    load_reward_model,
    read_card,
)

logger = logging.getLogger(__name__)


def score_trees(
    model: RewardModel,
    trees: Sequence[Tree],
    references: Sequence[np.ndarray] | None,
    token_budget: int | None,
) -> list[list[float]]:
    """Rewards of every tree's responses, chosen ones first.

    Args:
        model: the reward model; computed where it lies, in its own precision.
        trees: records as the model's `encode` writes them.
        references: for each tree the reference log-probabilities, where the kind needs them.
        token_budget: tokens computed at once, None for as many as suit the device; the rewards do
            not depend on it.
    """

    def rewards(batch: Pack, trees: Sequence[Tree]) -> list[list[float]]:
        with torch.no_grad():
            values = iter(model.rewards(model.read(batch, model.positions(batch))).tolist())
        of_leaves = [[next(values) for _ in tree.leaves] for tree in trees]
        return [leaves[: len(tree.lengths)] for leaves, tree in zip(of_leaves, trees, strict=True)]

    return map_trees(trees, rewards, token_budget, model.device, "scoring", references)


@dataclass(frozen=True)
class Scorer:
    """A reward model ready to score texts; `rewardgap.load` makes one.

    Attributes:
        model: the reward model.
        reference: the initial language model, where the kind needs it.
        max_length: truncate sequences to so many tokens; None leaves them whole.
        token_budget: tokens computed at once; None for as many as suit the device.
        compute_dtype: precision of matrix products. Weights stay float32: rounded to bfloat16,
            those of a model and its reference differ by more than training has moved them.
    """

    model: RewardModel
    reference: Reference | None
    max_length: int | None
    token_budget: int | None
    compute_dtype: torch.dtype = torch.float32

    def score(
        self, prompt: str | Sequence[Message | Mapping[str, str]], responses: Sequence[str]
    ) -> list[float]:
        """Raw rewards of responses to one prompt; the prompt is computed once for all of them.

        Args:
            prompt: a user's words, or a conversation that ends before the response, as messages
                or as mappings {role, content}.
            responses: what the assistant might say.

        Returns:
            one reward a response, in order.
        """
        if not responses:
            return []
        given = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        turns = tuple(m if isinstance(m, Message) else Message(**m) for m in given)
        answers = tuple((Message("assistant", response),) for response in responses)
        trees = self.model.encode([Record("prompt", turns, answers, (), {})], self.max_length)
        self.model.check_readable(trees)
        references = self.reference.compute(trees) if self.reference else None
        return self._score_trees(trees, references)[0]

    def score_records(
        self, records: Sequence[Record], baseline: BagOfWords | None = None
    ) -> list[ScoreRow]:
        """One score row a record, in order.

        Args:
            records: what to score.
            baseline: a bag-of-words baseline to score the same responses, if there is one.
        """
        trees = self.model.encode(records, self.max_length)
        return self.score_encoded(records, trees, baseline)

    def score_encoded(
        self, records: Sequence[Record], trees: Sequence[Tree], baseline: BagOfWords | None = None
    ) -> list[ScoreRow]:
        """The same of records whose trees, as the model's `encode` writes them, are there."""
        self.model.check_readable(trees)
        references = self.reference.log_probs(trees) if self.reference else None
        if self.reference:
            self.reference.release()
        truncated = sum(tree.truncated for tree in trees)
        if truncated:
            logger.warning("%d of %d records were truncated", truncated, len(trees))
        rewards = self._score_trees(trees, references)
        return [
            score_row(record, tree, values, baseline)
            for record, tree, values in zip(records, trees, rewards, strict=True)
        ]

    def _score_trees(
        self, trees: Sequence[Tree], references: Sequence[np.ndarray] | None
    ) -> list[list[float]]:
        with autocast(self.model.device, torch.float32, self.compute_dtype):
            return score_trees(self.model, trees, references, self.token_budget)


def load(
    model: str,
    *,
    kind: str | None = None,
    reference: str | None = None,
    options: KindConfig | None = None,
    max_length: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    token_budget: int | None = None,
    cache: str | None = None,
) -> Scorer:
    """Open a reward model for scoring.

    Args:
        model: a run's folder, a saved reward model, any sequence classification model with one
            output (explicit) or, with `kind`, any causal language model; a directory or a hub id.
        kind: the kind of a model trained elsewhere.
        reference: the initial model of an implicit model; a run knows its own.
        options: settings of the kind, such as β.
        max_length: truncate sequences to so many tokens; by default as a run was trained, and
            nothing of a model trained elsewhere.
        dtype: "float32", "bfloat16" or "auto" (bfloat16 on GPUs that have it).
        device: "cpu", "cuda", … or "auto".
        token_budget: tokens computed at once; None for as many as suit the device.
        cache: folder of reference log-probabilities.

    Raises:
        UserError: the model, its kind or its reference cannot be found or read.
    """
    folder = find_saved(model)
    card = read_card(folder, kind, options or KindConfig())
    if reference is not None:
        card = replace(card, initial_model=reference, initial_fingerprint=None)
    where = choose_device(device)
    precision = choose_dtype(dtype, where)
    opened = load_reward_model(folder, card, torch.float32).to(where).eval()
    return Scorer(
        model=opened,
        reference=open_reference(opened, card, precision, where, token_budget, cache),
        max_length=card.max_length if max_length is None else max_length,
        token_budget=token_budget,
        compute_dtype=precision,
    )


def open_reference(
    model: RewardModel,
    card: SavedRewardModel,
    compute_dtype: torch.dtype,
    device: torch.device,
    token_budget: int | None,
    cache: str | None,
) -> Reference | None:
    """The reference that a model's card names, if its kind needs one.

    Raises:
        UserError: it is gone or has changed.
    """
    if not model.needs_reference:
        return None
    folder = check_initial_model(card)
    where = cache_folder(cache)
    return Reference(
        folder,
        model.template,
        torch.float32,
        device,
        token_budget,
        where,
        compute_dtype=compute_dtype,
    )


def score(config: ScoreConfig) -> Path:
    """Write the score file that a configuration asks for, whole or not at all.

    Returns:
        the score file's path.

    Raises:
        UserError: the model or the data cannot be read, or the file cannot be written.
    """
    records = load_records(config.data, config.identical_pairs)
    baseline = _bag_of_words(config)
    options = KindConfig.of(config)
    scorer = load(
        config.model,
        kind=config.kind,
        reference=config.reference,
        options=options,
        max_length=config.max_length,
        dtype=config.dtype,
        device=config.device,
        token_budget=config.token_budget,
        cache=config.cache,
    )
    write_scores(config.out, scorer.score_records(records, baseline))
    return Path(config.out)


def _bag_of_words(config: ScoreConfig) -> BagOfWords | None:
    """The baseline of the training data that are named, or of the run's own if still there."""
    if config.train:
        return BagOfWords.fit(stream(config.train, "drop"))
    training = _training_data(config.model)
    try:
        return BagOfWords.fit(stream(training, "drop")) if training else None
    except UserError as error:
        logger.warning("no bag-of-words baseline, name the training data with --train: %s", error)
        return None


def _training_data(model: str) -> str | list[str] | None:
    """What a run was trained on, or None for a model trained elsewhere."""
    run = Run(Path(model))
    if not run.config.exists():
        return None
    training: str | list[str] | None = run.read_config().get("train")
    return training
