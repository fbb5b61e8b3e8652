"""The training loop: optimiser steps over packed trees, with a log and checkpoints.

The loss of a step is the mean over its pairs, however they are divided into micro-batches and
processes.
"""

import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn
from transformers import get_scheduler

from rewardgap.configs.training import TrainConfig
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.scores import RecordRewards
from rewardgap.io.files import write_text
from rewardgap.io.progress import progress
from rewardgap.io.run_folder import Run
from rewardgap.models.devices import autocast
from rewardgap.models.kinds.reward_model import Outcome, RewardModel
from rewardgap.models.packing import Pack, References, divide_trees, pack
from rewardgap.scoring.tree_rewards import score_trees
from rewardgap.training.adam import make_adam
from rewardgap.training.batches import BatchSampler
from rewardgap.training.checkpoints import PREFIX, BestWeights, load_checkpoint, save_checkpoint
from rewardgap.training.parallel import TrainingProcesses
from rewardgap.training.step_log import StepLog
from rewardgap.training.trackers import Track, open_trackers

logger = logging.getLogger(__name__)

TOO_SURE = 8
"""As many pairs are ranked rightly by chance once in 256 steps."""

Watch: TypeAlias = Callable[[int, Mapping[str, Sequence[RecordRewards]]], None]
"""Is given the number of steps done and the rewards of every held-out set."""


@dataclass(frozen=True)
class TreeData:
    """Records as trees and, where the kind needs them, their reference log-probabilities."""

    trees: Sequence[Tree]
    references: References | None

    def read(self, indices: Sequence[int]) -> "TreeData":
        """Return the records at `indices`, read into memory."""
        references = self.references and [self.references[i] for i in indices]
        return TreeData([self.trees[i] for i in indices], references)


@dataclass(frozen=True)
class Settings:
    """A run's configuration, folder, processes with their device, and precision of products.

    Weights stay float32: at the paper's learning rates bfloat16 would round most steps away.
    """

    config: TrainConfig
    run: Run
    processes: TrainingProcesses
    compute_dtype: torch.dtype

    def autocast(self) -> torch.autocast:
        """Return the context of every forward pass."""
        processes = self.processes
        cached = not processes.shard  # copies of all weights would be what was to be saved
        return autocast(processes.device, torch.float32, self.compute_dtype, cached)


@dataclass(frozen=True)
class Trainer:
    """What a step works with: the model, and the same model as several processes call it."""

    model: RewardModel
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    settings: Settings


def fit(
    model: RewardModel,
    training: TreeData,
    steps: BatchSampler,
    held_out: Mapping[str, TreeData],
    settings: Settings,
    watch: Watch | None = None,
) -> None:
    """Train `model` (float32) in place, from the run's latest checkpoint if it has one.

    A model without parameters is left as it is. `steps` says which training records each step
    learns from; accuracy on the held-out records is measured every `eval_steps` steps, and `watch`
    is then given the number of steps and the rewards of every set.

    Raises:
        UserError: The loss is no longer finite.
    """
    config, run, processes = settings.config, settings.run, settings.processes
    _place(model, settings)  # first, for some devices take other parameters in their place
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        return
    adam = make_adam(parameters.values(), config)
    rate = _learning_rates(config, adam, len(steps))
    done, lines = load_checkpoint(run.checkpoints, parameters, adam, processes)
    trainer = Trainer(model, processes.wrap(model), adam, settings)
    logger.debug("%d steps of %d are done", done, len(steps))
    step_log = StepLog.of(run.log, lines)
    best = BestWeights.of(config.keep_best or "", run.checkpoints, lines)
    with _open_log(settings, done, lines) as log:
        label = f"{'rehearsing' if watch else 'training'} {config.kind}"
        shown = processes.is_main
        bar = progress(range(done, len(steps)), label, initial=done, shown=shown)
        for step in bar:
            for group in adam.param_groups:
                group["lr"] = rate(step)
            row = {"step": step + 1, "epoch": steps.epochs_done(step + 1)}
            step_data = training.read(steps[step])
            row |= take_step(trainer, step_data)
            row |= {"learning_rate": rate(step), "peak_memory": peak_memory(processes.device)}
            if config.eval_steps and (step + 1) % config.eval_steps == 0:
                row |= _accuracies(model, held_out, settings, step + 1, watch)
                best.keep(row, parameters, processes)
            bar.say(loss=row["loss"], accuracy=row["accuracy"])
            if shown and not watch:
                warn_of_first_step(row, sum(tree.pair_count for tree in step_data.trees))
            log(row)
            step_log.count(row)
            is_due = config.checkpoint_steps and (step + 1) % config.checkpoint_steps == 0
            if is_due:
                save_checkpoint(run.checkpoints, step + 1, parameters, adam, step_log, processes)
    best.restore(parameters, processes)
    model.eval()


def _place(model: RewardModel, settings: Settings) -> None:
    """Bring a model to where it is trained, and prepare it for that."""
    device = settings.processes.device
    if device.type == "cuda":  # where another run of this process may have needed more
        torch.cuda.reset_peak_memory_stats(device)
    settings.processes.place(model, device)
    if settings.config.gradient_checkpointing and model.language_model:
        model.language_model.checkpoint_activations()
    if settings.config.compile and model.language_model:
        model.language_model.compile(settings.compute_dtype)
    model.train()


@contextmanager
def _open_log(settings: Settings, done: int, lines: str) -> Iterator[Track]:
    """Yield a function that writes a row to the run's log and to its trackers.

    The log begins with `lines`, those of the checkpoint after `done` steps: all further steps are
    done again.
    """
    processes, run = settings.processes, settings.run
    if not processes.is_main:
        yield lambda row: None
        return
    tracking: AbstractContextManager[Track] = nullcontext(lambda row: None)
    if settings.config.report_to:
        tracking = open_trackers(processes.accelerator, settings.config, run, done)
    with tracking as track:
        write_text(run.log, lines)
        with run.log.open("a", encoding="utf-8") as file:

            def log(row: Mapping[str, float]) -> None:
                try:
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                except OSError as error:
                    raise UserError(f"cannot write {run.log}: {error.strerror}") from error
                track(row)

            yield log


def take_step(trainer: Trainer, data: TreeData) -> dict[str, float]:
    """Take one optimiser step over all of `data`.

    Returns:
        Means over the step's pairs (loss, accuracy with ties ½, margin, rewards and, for implicit
        kinds, log-probabilities), the norm of the gradient before any clipping, and rates.
    """
    began = time.perf_counter()
    processes, config = trainer.settings.processes, trainer.settings.config
    pairs = sum(tree.pair_count for tree in data.trees)
    plans = divide_trees(data.trees, processes.count, config.token_budget, processes.device)
    plan = plans[processes.rank]
    sums: dict[str, torch.Tensor] = {}
    for number, micro_batch in enumerate(plan, start=1):
        part = data.read(micro_batch.trees)
        batch = pack(part.trees, part.references).to(processes.device)
        with processes.gradients(trainer.wrapped, last=number == len(plan)):
            with trainer.settings.autocast():
                outcome = trainer.wrapped(batch)
            # Processes take the mean of their gradients.
            weight = processes.count / pairs if micro_batch.counts else 0.0
            (outcome.losses.sum() * weight).backward()
        for name, values in _figures_of_pairs(outcome, batch).items():
            sums[name] = sums.get(name, 0) + values.sum() * micro_batch.counts
    norm = _clip_gradients(trainer)
    totals = processes.sum(torch.stack(list(sums.values())))
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    # Only here, with all work of the step under way, does the host wait for a GPU.
    means: dict[str, float] = dict(zip(sums, (totals / pairs).tolist(), strict=True))
    means["grad_norm"] = float(norm)
    for name, word in (("loss", "loss"), ("grad_norm", "norm of the gradient")):
        if not np.isfinite(means[name]):
            remedy = "lower learning_rate, or use dtype float32"
            raise UserError(f"the {word} is {means[name]}: {remedy}")
    seconds = time.perf_counter() - began
    return means | {
        "pairs_per_second": pairs / seconds,
        "tokens_per_second": sum(tree.size for tree in data.trees) / seconds,
    }


def _clip_gradients(trainer: Trainer) -> torch.Tensor:
    """Clip the gradient if the configuration says so; return its norm before that."""
    parameters, limit = list(trainer.model.parameters()), trainer.settings.config.max_grad_norm
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = trainer.settings.processes.norm(gradients)
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def _figures_of_pairs(outcome: Outcome, batch: Pack) -> dict[str, torch.Tensor]:
    """Return (P,) values of every figure that the log gives the mean of."""
    rewards = outcome.rewards.detach()
    chosen, rejected = rewards[batch.chosen], rewards[batch.rejected]
    values = {
        "loss": outcome.losses.detach(),
        "accuracy": ((chosen - rejected).sign() + 1) / 2,
        "margin": chosen - rejected,
        "reward_chosen": chosen,
        "reward_rejected": rejected,
    }
    if outcome.log_probs is not None:
        values["log_prob_chosen"] = outcome.log_probs[batch.chosen]
        values["log_prob_rejected"] = outcome.log_probs[batch.rejected]
    return values


def warn_of_first_step(row: Mapping[str, float], pairs: int) -> None:
    """Warn if the model ranks all pairs of the first step rightly before it has learnt any."""
    if row["step"] == 1 and row["accuracy"] == 1 and pairs >= TOO_SURE:
        logger.warning(
            "all %d pairs of the first step are ranked rightly before anything is learnt: the "
            "model has learnt from these pairs before, or something else than the answer tells "
            "them apart (rewardgap check data)",
            pairs,
        )


def _learning_rates(
    config: TrainConfig, adam: torch.optim.Optimizer, steps: int
) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, which no checkpoint needs to hold."""
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    (factor,) = get_scheduler(name, adam, config.warmup_steps, steps).lr_lambdas
    return lambda step: config.learning_rate * factor(step)


def _accuracies(
    model: RewardModel,
    held_out: Mapping[str, TreeData],
    settings: Settings,
    step: int,
    watch: Watch | None,
) -> dict[str, float]:
    """Return the accuracy on every held-out set, as the log names it, and tell `watch`."""
    rewards = held_out_rewards(model, held_out, settings)
    if watch:
        watch(step, rewards)
    return {
        PREFIX + name: float(record_accuracies(sides).mean()) for name, sides in rewards.items()
    }


def held_out_rewards(
    model: RewardModel, held_out: Mapping[str, TreeData], settings: Settings
) -> dict[str, list[RecordRewards]]:
    """Return the rewards of every held-out record as training has made them so far."""
    training, sides = model.training, {}
    model.eval()
    for name, data in held_out.items():
        with settings.autocast():
            rewards = score_trees(
                model,
                data.trees,
                data.references,
                settings.config.token_budget,
                processes=settings.processes,
            )
        sides[name] = [
            (tuple(values[: tree.chosen]), tuple(values[tree.chosen :]))
            for values, tree in zip(rewards, data.trees, strict=True)
        ]
    model.train(training)
    return sides


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU in this training, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere the peak begins with that of the process that started this one
        return int(status.read_text().partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
