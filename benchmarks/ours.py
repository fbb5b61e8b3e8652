"""The side of rewardgap: its own optimiser steps and scorer, fed in the order of the rows."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.cost import necessary_tokens, synchronize
from benchmarks.settings import BETA, LEARNING_RATE
from benchmarks.worker import Job, Measurement
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.parsing import parse_record
from rewardgap.data.records import Record
from rewardgap.data.tree_counts import TreeCounts
from rewardgap.data.trees import Tree
from rewardgap.io.run_folder import Run
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.reference import Reference
from rewardgap.models.shape import ModelShape
from rewardgap.scoring.scorer import load
from rewardgap.training.loop import Settings, Trainer, TreeData, take_step
from rewardgap.training.operations import backward, forward
from rewardgap.training.parallel import TrainingProcesses


def explicit(job: Job) -> Measurement:
    """Training an explicit reward model."""
    return _train(job, "explicit")


def implicit(job: Job) -> Measurement:
    """Training an implicit reward model against a reference that is computed once."""
    return _train(job, "implicit")


def score(job: Job) -> Measurement:
    """Rewards of all responses by an explicit reward model, tokenisation included."""
    records = _records(job)
    scorer = load(job.model, dtype=job.dtype, device=job.device)
    scorer.score_records(records[: job.warm_up])
    timed = records[job.warm_up :]
    synchronize(job.device)
    began = time.perf_counter()
    rows = scorer.score_records(timed)
    seconds = time.perf_counter() - began
    trees = scorer.model.encode(timed)
    assert isinstance(scorer.model, TrainedRewardModel)
    return Measurement(
        seconds,
        [reward for row in rows for reward in (*row.scores_chosen, *row.scores_rejected)],
        tokens=necessary_tokens(trees),
        operations=forward(ModelShape.of(scorer.model, trees[0]), TreeCounts.of(trees)).total,
        threads=torch.get_num_threads(),
        peak_memory=gpu_memory(job.device),
    )


def _records(job: Job) -> list[Record]:
    rows = enumerate(job.read_rows(), start=1)
    return [parse_record(row, f"row {number}") for number, row in rows]


def _train(job: Job, kind: str) -> Measurement:
    folder = Path(job.model)
    template = ChatTemplate.load(folder)
    model = find_kind(kind).load(folder, template, KindConfig(beta=BETA), torch.float32)
    trees = model.encode_for_training(_records(job))
    model.check_readable(trees)
    trainer = _trainer(job, kind, model)
    references, reference_seconds = _references(job, trainer, template, trees)
    data = TreeData(trees, references)
    steps = [
        data.read(range(start, min(start + job.pairs_per_step, len(trees))))
        for start in range(0, len(trees), job.pairs_per_step)
    ]
    untimed = job.warm_up // job.pairs_per_step
    losses = [take_step(trainer, step)["loss"] for step in steps[:untimed]]
    synchronize(job.device)
    with _profile(job.profile) as profiled:
        began = time.perf_counter()
        losses += [take_step(trainer, step)["loss"] for step in steps[untimed:]]
        synchronize(job.device)
        seconds = time.perf_counter() - began
    timed = trees[job.warm_up :]
    shape, counts = ModelShape.of(model, timed[0]), TreeCounts.of(timed)
    return Measurement(
        seconds,
        losses,
        reference_seconds=reference_seconds,
        tokens=necessary_tokens(timed),
        operations=forward(shape, counts).total + backward(shape, counts).total,
        threads=torch.get_num_threads(),
        peak_memory=gpu_memory(job.device),
        busy=profiled.kernel_seconds / seconds,
    )


def _trainer(job: Job, kind: str, model: TrainedRewardModel) -> Trainer:
    """Return what `rewardgap.fit` makes for a run with these settings."""
    config = TrainConfig(
        model=job.model,
        kind=kind,
        train=job.rows,
        out=job.scratch,
        learning_rate=LEARNING_RATE,
        batch_size=job.pairs_per_step,
        token_budget=job.token_budget,
    )
    processes = TrainingProcesses(accelerator=Accelerator(cpu=job.device == "cpu"))
    settings = Settings(config, Run(Path(job.scratch)), processes, getattr(torch, job.dtype))
    model.to(processes.device).train()
    if job.compile:
        model.language_model.compile(settings.compute_dtype)
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    return Trainer(model, processes.wrap(model), adam, settings)


def _references(
    job: Job, trainer: Trainer, template: ChatTemplate, trees: Sequence[Tree]
) -> tuple[list[np.ndarray] | None, float]:
    """Return reference log-probabilities of all rows, and the time of those after the warm-up."""
    if not trainer.model.needs_reference:
        return None, 0.0
    settings = trainer.settings
    config = replace(settings.config, cache=job.scratch)
    device = settings.processes.device
    reference = Reference(Path(job.model), template, device, config, settings.compute_dtype)
    first = reference.log_probs(trees[: job.warm_up])
    began = time.perf_counter()
    others = reference.log_probs(trees[job.warm_up :])
    return [*first, *others], time.perf_counter() - began


class _profile:
    """Profile what is done in the block, and write a table of it; nothing without a path.

    Attributes:
        kernel_seconds: how long a GPU computed.
    """

    def __init__(self, path: str):
        self.path, self.kernel_seconds = path, 0.0
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self.profiler = profile(activities=activities) if path else nullcontext()

    def __enter__(self) -> "_profile":
        self.profiler.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.profiler.__exit__(*error)
        if not self.path:
            return
        rows = self.profiler.key_averages()
        kernels = [
            row for row in rows if row.device_type != DeviceType.CPU and not row.is_user_annotation
        ]
        self.kernel_seconds = sum(row.self_device_time_total for row in kernels) / 1e6
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = rows.table(sort_by=by, row_limit=30, max_name_column_width=60)
        Path(self.path).write_text(table, "utf-8")


def gpu_memory(device: str) -> int:
    """Bytes allocated on the GPU at the highest; 0 elsewhere."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0
