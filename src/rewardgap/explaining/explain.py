"""Why a response got its reward: its tokens, and the training pairs that moved it.

The page has three parts. The rewards of partial responses are those of the trained model. The
contributions of training pairs are what the first step of training does to the initial model with
fixed hidden states (equations 4, 5 and 8): they say in which direction a pair pulls, and by which
tokens, and approximate what all of training does. What a counterpart of the record (a paraphrase)
loses in margin is split exactly.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, compress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewardgap.configs.adapters import AdapterConfig
from rewardgap.configs.forecasting import ExplainConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import OptimiserConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import TRAINING, encode_usable, new_list, usable_records, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.data.templates import TEMPLATES
from rewardgap.errors import UserError
from rewardgap.explaining.choice import find_counterpart, find_record, find_worst, read_records
from rewardgap.explaining.explanation import Explanation, Influence
from rewardgap.explaining.influence import ExplainedRecord, TrainingPairs, measure_influence
from rewardgap.explaining.page import ExplanationResult, write_page
from rewardgap.explaining.tokens import reward_tokens
from rewardgap.io.files import refuse_existing
from rewardgap.io.run_folder import Run
from rewardgap.models.devices import choose_device, choose_dtype, describe_place
from rewardgap.models.hub import fingerprint
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel, TrainedRewardModel
from rewardgap.models.saved import SavedRewardModel, find_saved
from rewardgap.scoring.scorer import Scorer, open_reference, open_scorer

logger = logging.getLogger(__name__)


@by_keywords(ExplainConfig)
def explain(config: ExplainConfig) -> ExplanationResult:
    """Write the page that explains one record, and its numbers as JSON beside it.

    Raises:
        UserError: If there is no such record, or the model, the training data or a reference that
            is named cannot be read, or a forecast is of several kinds and none is named. An initial
            model that is gone is an obstacle that the page tells, unless the rewards need it.
    """
    page = Path(config.out)
    refuse_existing(page, config.overwrite)
    records = read_records(config.data, config)
    is_named = config.worst is None
    record = find_record(records, config.data, config.id, config.row) if is_named else None
    logger.info("loading %s", config.model)
    scorer, saved, run = _open_model(config)
    record = record or find_worst(records, scorer, config)
    counterpart = find_counterpart(config, record)
    _say_start(config, saved, record, scorer)
    rewards = reward_tokens(scorer, record)
    reworded = None if counterpart is None else reward_tokens(scorer, counterpart)
    del scorer  # the initial model takes its place in memory
    obstacle = _obstacle(config, saved, run)
    influence = None if obstacle else _measure(config, saved, run, record)
    kind = find_kind(saved.kind)
    explanation = Explanation(
        *(config.model, saved.kind, rewards, influence, obstacle, reworded),
        kind.sums_tokens,
        _is_forecast(config),
        kind.new_head,
    )
    return ExplanationResult(write_page(page, explanation), explanation)


def _say_start(
    config: ExplainConfig, saved: SavedRewardModel, record: Record, scorer: Scorer
) -> None:
    """Say which record is explained by what, and where."""
    place = describe_place(scorer.model.device, scorer.compute_dtype)
    logger.info(
        "explaining record %s (row %s of %s) by %s, %s, on %s: its tokens, then its training pairs",
        *(record.id, record.row, config.data, saved.kind, config.model, place),
    )


def _is_forecast(config: ExplainConfig) -> bool:
    return (Path(config.model) / "forecast.json").exists()


ExplainedModel = tuple[Scorer, SavedRewardModel, Mapping[str, Any]]
"""A reward model (for a forecast, before training), its kind and the model that training begins
with, and the settings of its run or its forecast; none for a model trained elsewhere."""


def _open_model(config: ExplainConfig) -> ExplainedModel:
    run = Run(Path(config.model))
    settings = run.read_config() if run.config.exists() else {}
    if _is_forecast(config):
        return _open_forecast(config, settings)
    options = KindConfig.of(config)
    scorer = open_scorer(
        *(config.model, config.kind, config.reference, options, config), whole_weights=True
    )
    folder = find_saved(config.model)
    saved = SavedRewardModel.find(folder, config.kind, options)
    template = config.template or saved.template
    if template is not None and template not in TEMPLATES and not config.template:
        template = str(folder / "chat_template.jinja")  # as it was in training
    return scorer, replace(saved, template=template), settings


def _open_forecast(config: ExplainConfig, settings: Mapping[str, Any]) -> ExplainedModel:
    if config.worst is not None:
        raise UserError("before training no record is ranked: name one by its row or its id")
    kinds = settings["kinds"]
    if config.kind not in kinds and (config.kind or len(kinds) > 1):
        raise UserError(
            f"{config.model} is a forecast of {', '.join(kinds)}: name one of them with --kind"
        )
    kind = config.kind or kinds[0]
    options = KindConfig(beta=settings["beta"], verification_prompt=settings["verification_prompt"])
    saved = SavedRewardModel(kind, options, config.reference or settings["model"])
    folder = saved.find_initial_model()
    weights, length = fingerprint(folder), settings["max_length"]
    template = config.template or settings.get("template")
    saved = SavedRewardModel(kind, options, str(folder), weights, length, template)
    model = _open_initial(folder, saved, settings["seed"], config.device)
    dtype = choose_dtype(config.dtype, model.device)
    reference = open_reference(model, saved, dtype, config)
    scorer = Scorer(model, reference, config.max_length or length, config.token_budget, dtype)
    return scorer, saved, settings


def _open_initial(folder: Path, saved: SavedRewardModel, seed: int, device: str) -> RewardModel:
    """Return a saved reward model as it was before training."""
    template = ChatTemplate.load(folder, saved.template)
    model = find_kind(saved.kind).initialise(folder, template, saved.options, torch.float32, seed)
    return model.to(choose_device(device)).eval()


def _obstacle(config: ExplainConfig, saved: SavedRewardModel, run: Mapping[str, Any]) -> str:
    """Return why training pairs cannot be measured, or an empty text."""
    if find_kind(saved.kind).equation is None:
        return (
            f"The kind {saved.kind} learns nothing from training pairs, so none of them moved it."
        )
    if not (config.train or run.get("train")):
        return "The model is no run's, so its training pairs are not known: name them with --train."
    if not (config.reference or saved.initial_model):
        return "The language model that training began with is not known: name it with --reference."
    if config.reference is None:
        try:
            saved.find_initial_model()
        except UserError as error:
            return f"The language model that training began with cannot be read: {error}."
    return ""


def _measure(
    config: ExplainConfig, saved: SavedRewardModel, run: Mapping[str, Any], record: Record
) -> Influence:
    """Measure the contributions of the training pairs under the model that training began with."""
    where = config.reference or saved.initial_model  # checked already, see `_obstacle`
    folder = replace(saved, initial_model=where, initial_fingerprint=None).find_initial_model()
    model = _open_initial(folder, saved, run.get("seed", 0), config.device)
    assert isinstance(model, TrainedRewardModel)  # as all kinds with an equation are
    adapter = AdapterConfig.of_run(run)
    if adapter.adapter is not None:
        place = (model.device, torch.float32)
        model.language_model.adapt(adapter, str(folder), run.get("seed", 0), *place)
    (tree,) = model.encode([record], config.max_length or saved.max_length)
    training = _read_dropped(config, run, model, saved.max_length or config.max_length)
    explained = ExplainedRecord.read(model, tree)
    if run.get("frozen_backbone"):
        model.language_model.freeze()
    batch_size = run.get("batch_size", OptimiserConfig.batch_size)
    return measure_influence(explained, training, config.token_budget, config.top, batch_size)


def _read_dropped(
    config: ExplainConfig, run: Mapping[str, Any], model: RewardModel, max_length: int | None
) -> TrainingPairs:
    """Return the training pairs, or a seeded sample of `max_pairs` of them."""
    spec = config.train or run["train"]
    dropped = new_list(run.get("bad_records", config.bad_records))
    try:
        records = load_records(spec, run.get("identical_pairs", config.identical_pairs), dropped)
    except UserError as error:
        raise UserError(f"name the training data with --train: {error}") from error
    available = sum(len(record.pairs) for record in records)
    records = sample(records, config.max_pairs or available, config.seed)
    measured = sum(len(record.pairs) for record in records)
    logger.info(
        "measuring the effects of %s of %s training pairs", f"{measured:,}", f"{available:,}"
    )
    trees = encode_usable(model.encode_for_training, records, max_length, dropped)
    records = usable_records(records, trees)
    write_dropped(Path(f"{config.out}.dropped.jsonl"), {TRAINING: dropped})
    model.check_readable(trees)
    differing = [not tree.has_identical_pair for tree in trees]
    if not any(differing):
        raise UserError("truncation leaves no training pair whose responses differ")
    kept = list(compress(records, differing)), list(compress(trees, differing))
    return TrainingPairs(*kept, available)


def sample(records: Sequence[Record], max_pairs: int, seed: int) -> list[Record]:
    """Return records of at most `max_pairs` pairs in all, at least one, in order; all as likely."""
    order = np.random.default_rng(seed).permutation(len(records)).tolist()
    totals = accumulate(len(records[i].pairs) for i in order)
    fitting = [i for i, total in zip(order, totals, strict=True) if total <= max_pairs]
    return [records[i] for i in sorted(fitting or order[:1])]
