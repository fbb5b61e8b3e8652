"""What a run says of itself: where it starts, how far it came, and what went wrong on the way."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from rewardgap.configs.training import TrainConfig
from rewardgap.data.prepared import RunData
from rewardgap.evaluation.text import counted
from rewardgap.io.progress import duration
from rewardgap.io.run_folder import LogLine, Run
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.training.loop import Settings, peak_memory
from rewardgap.training.memory import LIBRARIES, Setup, estimate_memory, memory_of_weights

logger = logging.getLogger(__name__)

GIB = 2**30
SHARE = 10
"""The means of the first and of the last tenth of the steps are compared."""
LEAST_FALL, LEAST_RISE = 0.01, 0.05
"""Less than this share of the loss, and less than this of accuracy, is nothing learnt."""
FACTOR, PEAK = 100, 10
"""Rewards that became so many times larger have exploded, and so has a loss."""


def say_start(config: TrainConfig, data: RunData, steps: int, where: str) -> None:
    """Say what will be trained on what, and where."""
    training, summary = data.training, data.training.summary
    tokens = int(training.sizes.sum(dtype=np.int64))
    logger.info(
        "training %s on %s: %s of %s, %s; %s of %s in %s",
        *(config.kind, config.model),
        *(
            counted(int(training.pairs.sum(dtype=np.int64)), "pair"),
            counted(len(training), "record"),
            counted(tokens, "token"),
        ),
        *(
            counted(steps, "step"),
            counted(config.batch_size, "pair"),
            counted(config.epochs, "epoch"),
        ),
    )
    left_out = summary.identical + len(summary.dropped)
    sets = ", ".join(f"{name} ({len(trees):,})" for name, trees in data.evaluation.items())
    logger.info(
        "on %s; learning rate %g; truncated %s, left out %s; %s",
        *(where, config.learning_rate, f"{summary.truncated:,}", f"{left_out:,}"),
        f"records to evaluate on: {sets}" if sets else "nothing to evaluate on (--eval.NAME DATA)",
    )


def warn_of_idle(config: TrainConfig, processes: int) -> None:
    """Warn of a step that is too small for all processes."""
    if config.batch_size < processes:
        logger.warning(
            "batch_size %d is less than %d processes: some have nothing to learn from in a step",
            *(config.batch_size, processes),
        )


def say_memory(model: RewardModel, settings: Settings, data: RunData) -> None:
    """Say about how much memory training will take, and warn if the GPU has less."""
    processes, device, config = settings.processes, settings.processes.device, settings.config
    setup = Setup.of(config, device, settings.compute_dtype, processes.count)
    memory = estimate_memory(model, config, data.training, setup)
    needed, away = memory.total, memory.offloaded / GIB
    if device.type == "cpu":  # what the program takes by itself, the weights left out
        needed += peak_memory(device) + LIBRARIES - memory_of_weights(model)
    of_each = " in each process" * (processes.count > 1)
    besides = f", and {away:.1f} GiB of the computer's" * (away > 0)
    logger.info("memory: about %.1f GiB at the most%s%s", needed / GIB, of_each, besides)
    if device.type == "cuda" and needed > (present := torch.cuda.mem_get_info(device)[1]):
        logger.warning(
            "the GPU has %.1f GiB: lower token_budget, or set gradient_checkpointing%s",
            *(present / GIB, " or shard" * (processes.count > 1 and not processes.shard)),
        )


def say_end(config: TrainConfig, run: Run, seconds: float) -> None:
    """Say from where to where loss and accuracy went, and warn if the training came to nothing."""
    rows = run.read_log() if run.log.exists() else []
    if not rows:  # nothing is trained in a baseline
        return
    first, last = _first_and_last(rows)
    kind = find_kind(config.kind)
    beta = config.beta or kind.default_beta
    logger.info(
        "trained %s: loss %.3f → %.3f, accuracy %.3f → %.3f%s (training pairs, first and last "
        "%d of %d steps) in %s",
        *(config.kind, first["loss"], last["loss"], first["accuracy"], last["accuracy"]),
        f", margin/β {last['margin'] / beta:.0f} nats" if kind.generates else "",
        *(_tenth(rows), len(rows), duration(seconds)),
    )
    for warning in find_faults(rows, config.learning_rate):
        logger.warning("%s", warning)


def find_faults(rows: Sequence[LogLine], learning_rate: float) -> list[str]:
    """Return in sentences why a training, as its log tells it, may have come to nothing."""
    if len(rows) < 2:  # a single step says nothing of what it has changed
        return []
    first, last = _first_and_last(rows)
    if last["margin"] == 0 and last["accuracy"] == 0.5:
        return [
            f"all responses get the same reward, {last['reward_chosen']:.3g}: lower the learning "
            f"rate ({learning_rate:g})"
        ]
    size, before = _size(last), _size(rows[0])
    if size > FACTOR * max(1.0, before):
        return [
            f"the rewards have exploded: {size:,.0f} in the last steps, {before:.3g} in the first: "
            f"lower the learning rate ({learning_rate:g})"
        ]
    peak = max(rows, key=lambda row: row["loss"])
    if peak["loss"] > PEAK * rows[0]["loss"]:
        return [
            f"the loss has exploded: {peak['loss']:.3g} at step {peak['step']:.0f}, "
            f"{rows[0]['loss']:.3g} at the first: lower the learning rate ({learning_rate:g})"
        ]
    fell = first["loss"] - last["loss"] >= LEAST_FALL * first["loss"]
    if not fell and last["accuracy"] - first["accuracy"] < LEAST_RISE:
        return [
            f"training shows no learning: the loss is {last['loss']:.4f} after {first['loss']:.4f} "
            "(a guess between two responses has ln 2 = 0.6931) and accuracy did not rise: raise "
            f"the learning rate ({learning_rate:g}) or the epochs"
        ]
    return []


def _tenth(rows: Sequence[LogLine]) -> int:
    return max(1, len(rows) // SHARE)


def _first_and_last(rows: Sequence[LogLine]) -> list[dict[str, float]]:
    """Return the means of the figures over the first and over the last tenth of the steps."""
    names = ("loss", "accuracy", "margin", "reward_chosen", "reward_rejected")
    count = _tenth(rows)
    return [
        {name: float(np.mean([row[name] for row in part])) for name in names}
        for part in (rows[:count], rows[-count:])
    ]


def _size(row: LogLine) -> float:
    return max(abs(row["reward_chosen"]), abs(row["reward_rejected"]))
