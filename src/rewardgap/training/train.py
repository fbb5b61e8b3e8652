"""Training a reward model from start to end: prepare, fit, save, then score and measure.

The evaluation sets are scored by the saved model, loaded again: the numbers are those that anyone
gets who loads it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData
from rewardgap.data.records import Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import read_scores, write_scores
from rewardgap.evaluation.summary import summarise
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import remove_unfinished, write_text
from rewardgap.io.run_folder import open_run
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.packing import micro_batches
from rewardgap.models.reference import Reference
from rewardgap.models.saved import SavedRewardModel
from rewardgap.scoring.scorer import open_scorer
from rewardgap.training.batches import BatchSampler
from rewardgap.training.loop import Encoded, Settings, fit
from rewardgap.training.model_card import write_model_card

Sets = Mapping[str, Sequence[Record]]


def train(config: TrainConfig, shared: PreparedData | None = None) -> Path:
    """Train, save, score and measure a reward model.

    A run that was interrupted continues with `resume`, a finished one is left as it is. Started by
    `accelerate launch`, all processes share every step's pairs.

    Args:
        config: what to train on what.
        shared: records and trees that other runs have left, and will find.

    Returns:
        the run's folder.

    Raises:
        UserError: the data, the model or the configuration does not allow the run.
    """
    find_kind(config.kind)
    shared = shared or PreparedData()
    shared.check_training(config)
    held_out = {
        name: shared.records(spec, config.identical_pairs) for name, spec in config.eval.items()
    }
    initial = locate_model(config.model)
    _check_trackers(config)
    choose_device(config.device)  # refuses one that is not there; accelerate takes its own
    accelerator = Accelerator(
        cpu=config.device == "cpu", log_with=config.report_to or None, project_dir=config.out
    )
    with accelerator.main_process_first():
        is_joining = config.resume or not accelerator.is_main_process
        run = open_run(config.out, config.settings(), is_joining, config.cache)
        if accelerator.is_main_process:
            remove_unfinished(run.folder)
    dtype = choose_dtype(config.dtype, accelerator.device)
    settings = Settings(config, run, accelerator, dtype)
    if not run.reward_model.is_dir():
        _train_and_save(settings, initial, held_out, shared)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not run.metrics.exists():
        _measure(settings, held_out, shared)
    return run.folder


def _check_trackers(config: TrainConfig) -> None:
    """Refuse a tracker that is not installed; accelerate would leave it out."""
    installed = {str(tracker) for tracker in get_available_trackers()}
    missing = [name for name in config.report_to if name not in installed]
    if missing:
        raise UserError(f"report_to: {missing[0]} is not installed; pip install {missing[0]}")


def _train_and_save(
    settings: Settings, initial: Path, held_out: Sets, shared: PreparedData
) -> None:
    config = settings.config
    options = KindConfig.of(config)
    template = ChatTemplate.load(initial)
    model = find_kind(config.kind).initialise(
        initial, template, options, torch.float32, config.seed
    )
    if model.language_model:
        if config.frozen_backbone:
            model.language_model.freeze()
        if config.gradient_checkpointing:
            model.language_model.checkpoint_activations()
        if config.compile:
            model.language_model.compile()
    with settings.accelerator.main_process_first():
        training = shared.training_trees(model, config)
    others = {
        name: shared.encode(model, some, config.max_length) for name, some in held_out.items()
    }
    for trees in (training.extremes, *others.values()):
        model.check_readable(trees)
        # Refuses now what would not fit in the end.
        micro_batches(trees, config.token_budget, settings.accelerator.device)
    watched = others if config.eval_steps else {}
    with settings.accelerator.main_process_first():
        data, *sets = _with_references(settings, model, initial, [training, *watched.values()])
    steps = BatchSampler(
        training.pairs, config.batch_size, config.epochs, config.seed, config.max_steps
    )
    fit(model, data, steps, dict(zip(watched, sets, strict=True)), settings)
    if settings.accelerator.is_main_process:
        is_local = Path(config.model).expanduser().is_dir()
        name = str(initial.resolve()) if is_local else config.model
        saved = SavedRewardModel(
            config.kind, options, name, fingerprint(initial), config.max_length
        )
        saved.write(model, settings.run.reward_model)


def _with_references(
    settings: Settings, model: RewardModel, initial: Path, sets: Sequence[Sequence[Tree]]
) -> list[Encoded]:
    """Sets of trees with their reference log-probabilities, where the kind needs them."""
    if not model.needs_reference:
        return [Encoded(trees, None) for trees in sets]
    reference = Reference(
        initial,
        model.template,
        torch.float32,
        settings.accelerator.device,
        settings.config.token_budget,
        cache_folder(settings.config.cache),
        compute_dtype=settings.dtype,
    )
    return [Encoded(trees, reference.log_probs(trees)) for trees in sets]


def _measure(settings: Settings, held_out: Sets, shared: PreparedData) -> None:
    """Score every evaluation set by the saved model and write the metrics."""
    config, run = settings.config, settings.run
    scorer = open_scorer(str(run.reward_model), config.kind, None, KindConfig(), config)
    for name, some in held_out.items():
        trees = shared.encode(scorer.model, some, scorer.max_length)
        blind = shared.bag_of_words(config)  # goes over all training data, the first time
        write_scores(run.scores(name), scorer.score_encoded(some, trees, blind))
    summaries = {name: summarise(read_scores(run.scores(name))).to_json() for name in held_out}
    write_model_card(run, config, summaries)
    write_text(run.metrics, json.dumps(summaries, indent=2) + "\n")
