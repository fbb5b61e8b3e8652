"""The side of TRL: RewardTrainer and DPOTrainer, with the settings that rewardgap trains with.

Their defaults are kept but where they would train another model (weight decay, clipping, schedule,
order, precision, limit of length), where they save memory for time (gradient checkpointing), and
where they write files.
"""

import time
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from benchmarks.settings import BETA, LEARNING_RATE
from benchmarks.worker import Job, Measurement


class Clock(TrainerCallback):
    """Time from the end of the last untimed step to the end of training."""

    def __init__(self, untimed: int):
        self.untimed = untimed
        self.times: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Read the clock after the last untimed step and after the last one."""
        if state.global_step in (self.untimed, state.max_steps):
            if torch.cuda.is_available() and not args.use_cpu:
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())


class Recording:
    """A trainer that remembers the loss of each step and the time of its references."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch, as the trainer does it."""
        loss = super().training_step(*args, **kwargs)
        self.__dict__.setdefault("losses", []).append(loss.detach())
        return loss

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Dataset:
        began = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args, **kwargs)
        self.reference_seconds = time.perf_counter() - began
        return dataset


class RecordingRewardTrainer(Recording, RewardTrainer):
    """RewardTrainer, recorded."""


class RecordingDPOTrainer(Recording, DPOTrainer):
    """DPOTrainer, recorded."""


def explicit(job: Job) -> Measurement:
    """Training with RewardTrainer."""
    return _train(job, RecordingRewardTrainer, RewardConfig)


def dpo(job: Job) -> Measurement:
    """Training with DPOTrainer, which computes the reference in every step."""
    return _train(job, RecordingDPOTrainer, DPOConfig, beta=BETA)


def dpo_precomputed(job: Job) -> Measurement:
    """Training with DPOTrainer and reference log-probabilities computed before."""
    return _train(job, RecordingDPOTrainer, DPOConfig, beta=BETA, precompute_ref_log_probs=True)


def _train(job: Job, trainer_class: type, config_class: type, **options: Any) -> Measurement:
    rows = [_conversation(row) for row in job.read_rows()]
    clock = Clock(job.warm_up // job.pairs_per_step)
    config = config_class(
        output_dir=job.scratch,
        per_device_train_batch_size=job.pairs_per_step,
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=0.0,
        train_sampling_strategy="sequential",
        max_length=None,
        gradient_checkpointing=False,
        bf16=job.dtype == "bfloat16",
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device == "cuda",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    trainer = trainer_class(
        model=job.model, args=config, train_dataset=Dataset.from_list(rows), callbacks=[clock]
    )
    if len(trainer.train_dataset) != len(rows):
        raise RuntimeError(f"TRL kept {len(trainer.train_dataset)} of {len(rows)} rows")
    trainer.train()
    began, ended = clock.times
    # The references of all rows were computed at once.
    timed = 1 - job.warm_up / len(rows)
    return Measurement(
        ended - began,
        [float(loss) for loss in trainer.losses],
        reference_seconds=timed * getattr(trainer, "reference_seconds", 0.0),
        threads=torch.get_num_threads(),
        peak_memory=torch.cuda.max_memory_allocated() if job.device == "cuda" else 0,
    )


def _conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "chosen": [{"role": "assistant", "content": row["chosen"]}],
        "rejected": [{"role": "assistant", "content": row["rejected"]}],
    }
