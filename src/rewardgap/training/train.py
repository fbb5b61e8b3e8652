"""Training a reward model: open the run, prepare data, build, fit, save, evaluate.

The evaluation sets are scored by the saved model, loaded again: the numbers are those that anyone
gets who loads it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

import torch

from rewardgap.checks.data import warn_of_data
from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import read_scores, score_row, write_scores
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import remove_unfinished, whole_file
from rewardgap.io.lock import sole_process
from rewardgap.io.run_folder import open_run
from rewardgap.models.devices import choose_device, choose_dtype, describe_place
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.packing import micro_batches
from rewardgap.models.reference import Reference
from rewardgap.models.saved import RewardScale, SavedRewardModel
from rewardgap.scoring.scorer import open_scorer
from rewardgap.scoring.tree_rewards import score_trees
from rewardgap.training.adam import refuse_absent_packages
from rewardgap.training.batches import BatchSampler
from rewardgap.training.course import say_end, say_memory, say_start, warn_of_idle
from rewardgap.training.inputs import PACKAGES, check_inputs
from rewardgap.training.loop import Settings, TreeData, fit
from rewardgap.training.model_card import write_model_card
from rewardgap.training.parallel import TrainingProcesses, as_launched
from rewardgap.training.trackers import refuse_absent_trackers

SCALED = 1000
"""Number of training records whose rewards tell the scale that is saved with a model."""


@by_keywords(TrainConfig)
def train(config: TrainConfig, shared: PreparedData | None = None) -> Path:
    """Train, save, score and measure a reward model; return the run's folder.

    A run that was interrupted continues with `resume`, a finished one is left as it is. Started by
    `accelerate launch` or `torchrun`, all processes share the pairs of every step. Runs on the same
    data may have their records and trees in common: `shared`.

    Raises:
        UserError: The data, the model or the configuration does not allow the run.
    """
    find_kind(config.kind).refuse_options(KindConfig.of(config))
    shared = shared or PreparedData()
    shared.check(config)
    with sole_training(config, shared) as settings:
        if not settings.run.is_finished(config.eval):
            run_training(settings, shared)
    return settings.run.folder


@contextmanager
def sole_training(config: TrainConfig, shared: PreparedData) -> Iterator[Settings]:
    """Open a run and its processes, and keep others out of its folder."""
    config = as_launched(config)
    processes = open_processes(config)
    alone = sole_process(Path(config.out)) if processes.is_main else nullcontext()
    with processes.telling_of_lost(), alone:
        yield open_training(config, processes, shared)


def run_training(settings: Settings, shared: PreparedData) -> None:
    """Train, save, score and measure, as far as that is not done."""
    config, run, processes = settings.config, settings.run, settings.processes
    if processes.is_main:
        warn_of_data(config.train, config.eval, config.identical_pairs)
    data = open_data(settings, shared)
    if processes.is_main:
        write_dropped(run.dropped, data.dropped)
    if not processes.decide(run.reward_model.is_dir):
        _train_model(settings, data)
        processes.accelerator.free_memory()  # of what was trained, before its scores need room
    processes.wait()
    evaluate(settings, data)


def _train_model(settings: Settings, data: RunData) -> None:
    """Build, train and save a model."""
    config, run, processes = settings.config, settings.run, settings.processes
    steps = steps_of(config, data)
    if processes.is_main:
        where = describe_place(processes.device, settings.compute_dtype)
        say_start(config, data, len(steps), where + processes.in_words)
        warn_of_idle(config, processes.count)
    model = processes.build(lambda: build(config, data))
    if processes.is_main:
        say_memory(model, settings, data)
    training, held_out = add_references(settings, model, data)
    began = time.perf_counter()
    fit(model, training, steps, held_out, settings)
    if processes.is_main:
        say_end(config, run, time.perf_counter() - began)
        run.write_checksums()  # before the model, with which training ends
    scale = measure_scale(model, training, settings)
    model = processes.whole_model(model, lambda: build(config, data))
    if processes.is_main:
        save(model, settings, scale)


def steps_of(config: TrainConfig | ForecastConfig, data: RunData) -> BatchSampler:
    """Return which training records every optimiser step learns from."""
    return BatchSampler(
        data.training.pairs, config.batch_size, config.epochs, config.seed, config.max_steps
    )


def open_processes(config: TrainConfig) -> TrainingProcesses:
    """Return the processes of the run, if the configuration can be had."""
    locate_model(config.model)
    refuse_absent_trackers(config)
    refuse_absent_packages(config)
    return TrainingProcesses.open(config)


def open_training(
    config: TrainConfig, processes: TrainingProcesses, shared: PreparedData
) -> Settings:
    """Open the run's folder; its configuration and inputs are written before any work."""
    with processes.main_first():
        resumes = config.resume or not processes.is_main
        used = _used(config, processes.device)
        run = open_run(config.out, config.settings(), resumes, config.cache, used)
        if processes.is_main:
            check_inputs(run, config, shared)
            run.check_trained()
            for folder in (run.folder, cache_folder(config.cache)):
                remove_unfinished(folder)
    return Settings(config, run, processes, choose_dtype(config.dtype, processes.device))


def _used(config: TrainConfig, device: torch.device) -> dict[str, object]:
    """Return what settings of no value stand for, and the versions of what computes."""
    kind = find_kind(config.kind)
    return {
        **({"beta": config.beta or kind.default_beta} if kind.generates else {}),
        "dtype": str(choose_dtype(config.dtype, device)).removeprefix("torch."),
        "device": device,
        **{package: version(package) for package in PACKAGES},
    }


def open_data(settings: Settings, shared: PreparedData) -> RunData:
    """Read and tokenise the data; one process does it first, the others find its cache."""
    config = settings.config
    template = ChatTemplate.load(locate_model(config.model), config.template)
    encoder = find_kind(config.kind).encoding(template, KindConfig.of(config))
    with settings.processes.main_first():
        data = RunData.open(config, encoder, shared)
    for trees in (data.training.extremes, *data.evaluation.values()):
        # Refuses now what would not fit in the end.
        micro_batches(trees, config.token_budget, settings.processes.device)
    return data


def build(config: TrainConfig, data: RunData) -> RewardModel:
    """Build a reward model of the run's kind on its language model; refuse data beyond it."""
    folder, encoder = locate_model(config.model), data.encoder
    model = find_kind(config.kind).initialise(
        folder, encoder.template, encoder.options, torch.float32, config.seed
    )
    if model.language_model:
        device = choose_device(config.device)
        restrict(model.language_model, config, device, choose_dtype(config.dtype, device))
    for trees in (data.training.extremes, *data.evaluation.values()):
        model.check_readable(trees)
    return model


def restrict(
    language_model: LanguageModel,
    config: TrainConfig,
    device: torch.device,
    compute_dtype: torch.dtype,
) -> None:
    """Freeze what a run does not train, and add the adapter that it trains instead."""
    if config.frozen_backbone:
        language_model.freeze()
    if config.adapter is not None:
        base = _whole_name(config.model)
        language_model.adapt(config, base, config.seed, device, compute_dtype)


def add_references(
    settings: Settings, model: RewardModel, data: RunData
) -> tuple[TreeData, dict[str, TreeData]]:
    """Return the data with reference log-probabilities, where the kind needs them.

    They are the training data, and the evaluation sets that are measured during training.
    """
    held_out = data.evaluation if settings.config.eval_steps else {}
    training, *sets = with_references(settings, model, [data.training, *held_out.values()])
    return training, dict(zip(held_out, sets, strict=True))


def with_references(
    settings: Settings, model: RewardModel, sets: Iterable[Sequence[Tree]]
) -> list[TreeData]:
    """Return records as trees with reference log-probabilities, where the kind needs them."""
    if not model.needs_reference:
        return [TreeData(trees, None) for trees in sets]
    config, processes = settings.config, settings.processes
    reference = Reference(
        locate_model(config.model),
        model.template,
        processes.device,
        config,
        settings.compute_dtype,
        adapted=model.adapted,
        quantise=config.quantise,
        processes=processes,
    )
    return [TreeData(trees, reference.log_probs(trees)) for trees in sets]


def measure_scale(model: RewardModel, training: TreeData, settings: Settings) -> RewardScale | None:
    """Return mean and deviation of the trained model's rewards for training responses.

    At most `SCALED` records, evenly spaced, are scored. None if all rewards are equal.
    """
    count = min(len(training.trees), SCALED)
    sample = training.read([i * len(training.trees) // count for i in range(count)])
    with settings.autocast():
        rewards = score_trees(
            model,
            sample.trees,
            sample.references,
            settings.config.token_budget,
            "scale of rewards",
            settings.processes,
        )
    with suppress(UserError):
        return RewardScale.of(rewards, f"{count:,} training records")
    return None


def save(model: RewardModel, settings: Settings, scale: RewardScale | None) -> None:
    """Save a trained model in the run's folder, with the scale of its rewards."""
    config, initial = settings.config, locate_model(settings.config.model)
    saved = SavedRewardModel(
        config.kind,
        model.options,
        _whole_name(config.model),
        fingerprint(initial),
        config.max_length,
        config.template,
        scale,
        config.quantise,
    )
    saved.write(model, settings.run.reward_model)


def _whole_name(model: str) -> str:
    """Return the path of a model from the root, or the hub id that it is."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


def evaluate(settings: Settings, data: RunData) -> None:
    """Score every evaluation set by the saved model; write score files, card and metrics."""
    config, run, processes = settings.config, settings.run, settings.processes
    if processes.is_main:
        run.metrics.unlink(missing_ok=True)  # first: with it, results are compared with checksums
    as_saved = replace(config, template=None)
    scorer = open_scorer(
        str(run.reward_model), config.kind, None, KindConfig(), as_saved, processes=processes
    )
    for name in config.eval:
        records, trees = data.evaluation_set(name, scorer.model.encoder, scorer.max_length)
        _, rewards = scorer.rewards(records, trees, f"scoring {name}")
        if processes.is_main:
            baseline = data.bag_of_words()  # reads all training data, the first time
            rows = map(score_row, records, trees, rewards, repeat(baseline))
            write_scores(run.scores(name), rows)
    if not processes.is_main:
        return
    summaries = {name: summarise(read_scores(run.scores(name))).to_json() for name in config.eval}
    write_model_card(run, config, int(data.training.pairs.sum()), summaries)
    with whole_file(run.metrics) as unfinished:
        unfinished.write_text(json.dumps(summaries, indent=2) + "\n", encoding="utf-8")
        run.write_checksums(unfinished)
