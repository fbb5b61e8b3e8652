"""The command train: a reward model of any kind."""

import shlex
from pathlib import Path
from typing import Any

from rewardgap.commands.command import Command, advise_report, say_metrics
from rewardgap.io.run_folder import Run


def _advise(config: Any) -> str:
    if config.eval:
        return advise_report(config)
    return f"next: rewardgap score {shlex.quote(config.out)} --data DATA --out scores.jsonl"


def _resume(config: Any) -> str:
    """Return how a run goes on that was interrupted."""
    run = Run(Path(config.out))
    if not run.folder.exists():
        return ""
    done = f"after step {run.steps_saved}" if run.steps_saved else "from its first step"
    return f": the same command with --resume continues {done}"


TRAIN = Command(
    "train",
    ".training.train:train",
    ".configs.training:TrainConfig",
    say_metrics,
    "rewardgap train --model MODEL --kind explicit --train pairs.jsonl --eval.test test.jsonl "
    "--out runs/explicit",
    advice=_advise,
    resumed=_resume,
)
