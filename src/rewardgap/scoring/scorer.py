"""Scoring: a reward for every response, from runs and from models trained elsewhere."""

import logging
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice

import torch

from rewardgap.configs.compute import CachedComputeConfig, Device, Dtype
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.scoring import RatingConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.dropped import Dropped, encode_usable, usable_records, warn_of_moved
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree, group_by_prompt, join_responses
from rewardgap.errors import UserError
from rewardgap.evaluation.ensembles import parse_ensemble
from rewardgap.evaluation.scores import ScoreRow, score_row
from rewardgap.evaluation.text import counted
from rewardgap.models.devices import (
    autocast,
    choose_device,
    choose_dtype,
    describe_place,
    tokens_at_once,
)
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.packing import pack
from rewardgap.models.processes import ALONE, Processes
from rewardgap.models.reference import Reference
from rewardgap.models.saved import RewardScale, SavedRewardModel, find_saved
from rewardgap.scoring.ensemble import Ensemble
from rewardgap.scoring.rater import Prompt, Rated, Rater
from rewardgap.scoring.responses import ChatPrompt
from rewardgap.scoring.tree_rewards import RatedResponse, rate_trees, score_trees

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scorer(Rater):
    """A reward model ready to score texts; `rewardgap.load` makes one.

    Attributes:
        model: The reward model.
        reference: The initial language model, where the kind needs it.
        max_length: Truncate sequences to this many tokens; None leaves them whole.
        token_budget: Tokens computed at once; None for as many as suit the device.
        compute_dtype: Precision of matrix products. Weights that are read otherwise than by the
            products of blocks are float32: bfloat16 would round away what training has changed.
        scale: Mean and deviation by which rewards are standardised; None leaves them raw.
        processes: Those that share the work of `rewards`.
        in_parts: Whether records come in many small parts, so that the reference stays in memory
            and its log-probabilities are not cached.
    """

    model: RewardModel
    reference: Reference | None
    max_length: int | None
    token_budget: int | None
    compute_dtype: torch.dtype = torch.float32
    scale: RewardScale | None = None
    processes: Processes = ALONE
    in_parts: bool = False

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        place = describe_place(self.model.device, self.compute_dtype)
        return f"Scorer({type(self.model).__name__}, {parameters:,} parameters, {place})"

    def score(self, prompt: Prompt, responses: str | Sequence[str]) -> list[float]:
        """Return rewards of responses to one prompt; see `Rater.score`."""
        responses = [responses] if isinstance(responses, str) else responses
        if not responses:
            return []
        return self.compute([self._encode(prompt, responses)])[0]

    def token_rewards(self, prompt: Prompt, response: str) -> list[float]:
        """Return the rewards of a response's tokens, end of turn included; their sum is its reward.

        Raises:
            UserError: Rewards of the model's kind are no sums over tokens.
        """
        model, tree = self.model, self._encode(prompt, [response])
        model.check_readable([tree])
        references = self.reference.compute([tree]) if self.reference else None
        with torch.no_grad(), autocast(model.device, torch.float32, self.compute_dtype):
            read = model.read(pack([tree], references).to(model.device))
            return [float(value) for value in model.steps(read).tolist()]

    def compute(self, trees: Sequence[Tree]) -> list[list[float]]:
        """Return the rewards of every tree's responses; nothing is cached, the reference is kept.

        Raises:
            UserError: The model cannot read a tree.
        """
        self.model.check_readable(trees)
        references = self.reference.compute(trees) if self.reference else None
        with autocast(self.model.device, torch.float32, self.compute_dtype):
            rewards = score_trees(self.model, trees, references, self.token_budget)
        return self._standardise(rewards)

    def for_another_thread(self) -> "Scorer":
        """Return a scorer with the same weights in memory, to be used at the same time as this one.

        Modules and tokenizers are copies: a forward pass leaves marks on them.
        """
        weights = [*self.model.parameters()]
        if self.reference:
            weights += self.reference.load().model.parameters()
        return deepcopy(self, {id(weight): weight for weight in weights})

    def _encode(self, prompt: Prompt, responses: Sequence[str]) -> Tree:
        conversation = [Message("user", prompt)] if isinstance(prompt, str) else prompt
        turns = tuple(m if isinstance(m, Message) else Message(**m) for m in conversation)
        answers = [(Message("assistant", response),) for response in responses]
        return ChatPrompt(turns).encode(self.model, answers, self.max_length)

    def rate(
        self, records: Sequence[Record], dropped: Dropped | None = None, prefixes: bool = False
    ) -> Rated:
        """Return the rewards of records; see `Rater.rate`."""
        trees = encode_usable(self.model.encode, records, self.max_length, dropped)
        usable = usable_records(records, trees)
        place = describe_place(self.model.device, self.compute_dtype) + self.processes.in_words
        logger.info("scoring %s on %s", counted(len(usable), "record"), place)
        rated = self._rate(trees, prefixes=prefixes)
        rewards = self._standardise([[response.reward for response in tree] for tree in rated])
        parts = [[r.prefixes for r in tree if r.prefixes is not None] for tree in rated]
        return Rated(usable, trees, rewards, parts if all(parts) else None)

    def score_records(
        self,
        records: Sequence[Record],
        baseline: BagOfWords | None = None,
        trees: Sequence[Tree] | None = None,
        label: str = "scoring",
    ) -> list[ScoreRow]:
        """Return one score row per record, in order, with rewards of a baseline if there is one.

        Records whose `trees` were made before, by the model's `encode`, are not encoded again. The
        progress says `label`.
        """
        trees, rewards = self.rewards(records, trees, label)
        return [
            score_row(record, tree, values, baseline)
            for record, tree, values in zip(records, trees, rewards, strict=True)
        ]

    def rewards(
        self, records: Sequence[Record], trees: Sequence[Tree] | None = None, label: str = "scoring"
    ) -> tuple[Sequence[Tree], list[list[float]]]:
        """Return the trees of records and the rewards of their responses, chosen ones first."""
        if trees is None:
            trees = self.model.encode(records, self.max_length)
        rated = self._rate(trees, label)
        return trees, self._standardise([[response.reward for response in tree] for tree in rated])

    def _rate(
        self, trees: Sequence[Tree], label: str = "scoring", prefixes: bool = False
    ) -> list[list[RatedResponse]]:
        """Rate every tree's responses; a prompt that several trees have is computed once."""
        self.model.check_readable(trees)
        moved = [tree.record for tree in trees if tree.moved]
        if moved:
            warn_of_moved(len(moved), len(trees), moved[0])
        if truncated := sum(tree.truncated for tree in trees):
            logger.warning("%d of %d records were truncated", truncated, len(trees))
        groups = group_by_prompt(trees, tokens_at_once(self.token_budget, self.model.device))
        if len(groups) == len(trees):
            return self._rate_apart(trees, label, prefixes)
        joined = [join_responses([trees[i] for i in group]) for group in groups]
        rated = self._rate_apart(joined, label, prefixes)
        parts: dict[int, list[RatedResponse]] = {}
        for group, responses in zip(groups, map(iter, rated), strict=True):
            parts |= {i: list(islice(responses, len(trees[i].lengths))) for i in group}
        return [parts[i] for i in range(len(trees))]

    def _rate_apart(
        self, trees: Sequence[Tree], label: str, prefixes: bool
    ) -> list[list[RatedResponse]]:
        references = None
        if self.reference and self.in_parts:
            references = self.reference.compute(trees)
        elif self.reference:
            references = self.reference.log_probs(trees)
            self.reference.release()
        cached = not self.processes.shard
        with autocast(self.model.device, torch.float32, self.compute_dtype, cached):
            return rate_trees(
                self.model,
                trees,
                references,
                self.token_budget,
                label,
                prefixes,
                processes=self.processes,
            )

    def _standardise(self, rewards: list[list[float]]) -> list[list[float]]:
        return self.scale.standardise(rewards) if self.scale else rewards


def load(
    model: str | os.PathLike[str],
    *,
    kind: str | None = None,
    reference: str | None = None,
    options: KindConfig | None = None,
    max_length: int | None = None,
    template: str | None = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    token_budget: int | None = None,
    cache: str | None = None,
    standardise: bool = False,
) -> Rater:
    """Open a reward model, or an ensemble, for scoring.

    Args:
        model: A run's folder, a saved reward model, any sequence classification model with one
            output (explicit) or, with `kind`, any causal language model; a directory or a hub id.
            Or several of these as mean(A,B), worst(A,B) or mean-std(A,B), all kept in memory.
        kind: The kind of a model trained elsewhere.
        reference: The initial model of an implicit model; a run knows its own.
        options: Settings of the kind, such as β.
        max_length: Truncate sequences to this many tokens; by default as in training, and not at
            all for a model trained elsewhere.
        template: Chat template instead of the model's: a file, or one of `TEMPLATES` by name.
        dtype: Precision; "auto" is bfloat16 on GPUs that have it.
        device: "cpu", "cuda", "mps" or "auto".
        token_budget: Tokens computed at once; None for as many as suit the device.
        cache: Folder of reference log-probabilities.
        standardise: Return rewards in deviations from their mean, both as saved with the model.

    Raises:
        UserError: The model, its kind, its reference or its scale cannot be found or read.
    """
    compute = CachedComputeConfig(
        max_length=max_length,
        template=template,
        dtype=dtype,
        device=device,
        token_budget=token_budget,
        cache=cache,
    )
    name = os.fspath(model)
    ensemble = parse_ensemble(name)

    def open_one(name: str) -> Scorer:
        return open_scorer(name, kind, reference, options or KindConfig(), compute, standardise)

    if ensemble is None:
        return open_one(name)
    opened = dict(zip(ensemble.members, map(open_one, ensemble.members), strict=True))
    return Ensemble(ensemble, [partial(opened.__getitem__, member) for member in ensemble.members])


def as_one_model(rater: Rater) -> Scorer:
    """Return what `load` has opened where only a single model will do; refuse an ensemble."""
    if not isinstance(rater, Scorer):
        raise UserError("name one reward model: an ensemble cannot be used here")
    return rater


def open_rater(config: RatingConfig, processes: Processes = ALONE, in_parts: bool = False) -> Rater:
    """Open the model of a command; of an ensemble, members as they are needed, one at a time.

    Where records come in parts, all that was opened stays in memory.
    """
    logger.info("loading %s", config.model)
    ensemble, options = parse_ensemble(config.model), KindConfig.of(config)
    kind, reference = config.kind, config.reference

    def open_one(name: str) -> Scorer:
        standardise = config.standardise
        scorer = open_scorer(name, kind, reference, options, config, standardise, processes)
        return replace(scorer, in_parts=in_parts)

    if ensemble is None:
        return open_one(config.model)
    opened = cache(open_one) if in_parts else open_one
    return Ensemble(ensemble, [partial(opened, member) for member in ensemble.members])


def open_scorer(
    model: str,
    kind: str | None,
    reference: str | None,
    options: KindConfig,
    compute: CachedComputeConfig,
    standardise: bool = False,
    processes: Processes = ALONE,
    whole_weights: bool = False,
) -> Scorer:
    """Open a reward model as a command's configuration says, for all processes; see `load`.

    With `whole_weights` it can do more than give rewards: no matrix is in the products' precision.
    """
    folder = find_saved(model)
    saved = SavedRewardModel.find(folder, kind, options)
    if reference is not None:
        saved = saved.with_initial_model(reference)
    device = choose_device(compute.device)
    dtype = choose_dtype(compute.dtype, device)
    reward_model = processes.build(
        lambda: saved.load(folder, compute.template, device, dtype).eval()
    )
    if reward_model.language_model and not (whole_weights or processes.shard):
        reward_model.language_model.keep_matrices_in(dtype, trained=True)
    processes.place(reward_model, device)
    return Scorer(
        model=reward_model,
        reference=open_reference(reward_model, saved, dtype, compute, processes),
        max_length=saved.max_length if compute.max_length is None else compute.max_length,
        token_budget=compute.token_budget,
        compute_dtype=dtype,
        scale=saved.scale_of(folder) if standardise else None,
        processes=processes,
    )


def open_reference(
    model: RewardModel,
    saved: SavedRewardModel,
    compute_dtype: torch.dtype,
    compute: CachedComputeConfig,
    processes: Processes = ALONE,
) -> Reference | None:
    """Return the reference of a reward model, on the model's device, if its kind needs one.

    Raises:
        UserError: It is gone or has changed.
    """
    if not model.needs_reference:
        return None
    folder = saved.find_initial_model()
    return Reference(
        *(folder, model.template, model.device, compute, compute_dtype),
        adapted=model.adapted,
        quantise=saved.quantise,
        processes=processes,
    )
