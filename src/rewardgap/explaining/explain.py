"""Why a response got its reward: its tokens, and the training pairs that moved it.

The page has three parts. The rewards of partial responses are those of the trained model. The
contributions of training pairs are what the first step of training does to the initial model with
fixed hidden states (equations 4, 5 and 8): they say in which direction a pair pulls, and by which
tokens, and approximate what all of training does. A paraphrase's loss of margin is split exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewardgap.configs.forecasting import ExplainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.dynamics.last_layer import last_layer
from rewardgap.errors import UserError
from rewardgap.explaining.explanation import Explanation, Influence
from rewardgap.explaining.influence import Probe, Training, measure_influence
from rewardgap.explaining.page import write_page
from rewardgap.explaining.subject import open_subject
from rewardgap.explaining.tokens import reward_tokens
from rewardgap.models.devices import choose_device
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.saved import SavedRewardModel, check_initial_model


def explain(config: ExplainConfig) -> Path:
    """Write the page that explains one record, and its numbers as JSON beside it.

    Returns:
        the page's path.

    Raises:
        UserError: no such record, or the model, the training data or a reference that is named
            cannot be read. An initial model that is gone is an obstacle that the page tells, unless
            the rewards themselves need it.
    """
    record = _find(config.data, config.id, config)
    twin = _find_twin(config, record)
    subject = open_subject(config)
    card, run = subject.card, subject.settings
    rewards = reward_tokens(subject.scorer, record)
    twin_rewards = None if twin is None else reward_tokens(subject.scorer, twin)
    obstacle = _obstacle(config, card, run, subject.scorer.model)
    del subject  # the initial model takes its place in memory
    influence = None if obstacle else _measure(config, card, run, record)
    explanation = Explanation(
        config.model, card.kind, rewards, influence, obstacle, twin=twin_rewards
    )
    return write_page(Path(config.out), explanation)


def _find(data: str, wanted: str, config: ExplainConfig) -> Record:
    records = load_records(data, config.identical_pairs)
    for record in records:
        if record.id == wanted:
            return record
    some = ", ".join(record.id for record in records[:3])
    more = ", …" if len(records) > 3 else ""
    raise UserError(f"{data} has no record {wanted!r}; it has {len(records)} ids: {some}{more}")


def _find_twin(config: ExplainConfig, record: Record) -> Record | None:
    """The paraphrase that is named by its id, its data or both."""
    if config.counterpart is None and config.counterpart_data is None:
        return None
    twin = _find(config.counterpart_data or config.data, config.counterpart or config.id, config)
    for each in (record, twin):
        if not each.is_pair:
            raise UserError(
                f"record {each.id} has {len(each.responses)} responses: a twin needs one chosen "
                "and one rejected response on both sides"
            )
    return twin


def _obstacle(
    config: ExplainConfig, card: SavedRewardModel, run: Mapping[str, Any], model: RewardModel
) -> str:
    """Why training pairs cannot be looked at, if they cannot."""
    if last_layer(model) is None:
        return f"The kind {card.kind} learns nothing from training pairs, so none of them moved it."
    if not (config.train or run.get("train")):
        return "The model is no run's, so its training pairs are not known: name them with --train."
    if not (config.reference or card.initial_model):
        return "The language model that training began with is not known: name it with --reference."
    if config.reference is None:
        try:
            check_initial_model(card)
        except UserError as error:
            return f"The language model that training began with cannot be read: {error}."
    return ""


def _measure(
    config: ExplainConfig, card: SavedRewardModel, run: Mapping[str, Any], record: Record
) -> Influence | None:
    """Contributions of the training pairs, under the model that training began with."""
    where = config.reference or card.initial_model  # looked at already, see `_obstacle`
    folder = check_initial_model(replace(card, initial_model=where, initial_fingerprint=None))
    model = find_kind(card.kind).initialise(
        folder, ChatTemplate.load(folder), card.options, torch.float32, run.get("seed", 0)
    )
    model.to(choose_device(config.device)).eval()
    layer = last_layer(model)
    if layer is None:
        return None
    (tree,) = model.encode([record], config.max_length or card.max_length)
    training = _training(config, run, model, card.max_length or config.max_length)
    probe = Probe.of(model, layer, tree)
    return measure_influence(probe, training, config.token_budget, config.top)


def _training(
    config: ExplainConfig, run: Mapping[str, Any], model: RewardModel, max_length: int | None
) -> Training:
    """The training pairs, or a seeded sample of `max_pairs` of them.

    Raises:
        UserError: they cannot be read.
    """
    spec = config.train or run["train"]
    try:
        records = load_records(spec, run.get("identical_pairs", config.identical_pairs))
    except UserError as error:
        raise UserError(f"name the training data with --train: {error}") from error
    available = sum(len(record.pairs) for record in records)
    records = sample(records, config.max_pairs or available, config.seed)
    trees = model.encode_for_training(records, max_length)
    model.check_readable(trees)
    kept = [pair for pair in zip(records, trees, strict=True) if not pair[1].has_identical_pair]
    if not kept:
        raise UserError("truncation leaves no training pair whose responses differ")
    return Training([record for record, _ in kept], [tree for _, tree in kept], available)


def sample(records: Sequence[Record], max_pairs: int, seed: int) -> list[Record]:
    """Records of at most `max_pairs` pairs in all, at least one, in their own order.

    Each record is as likely as any other; a seed gives the same ones always.
    """
    order = np.random.default_rng(seed).permutation(len(records)).tolist()
    totals = accumulate(len(records[i].pairs) for i in order)
    fitting = [i for i, total in zip(order, totals, strict=True) if total <= max_pairs]
    return [records[i] for i in sorted(fitting or order[:1])]
