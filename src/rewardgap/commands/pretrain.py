"""The command pretrain: a small language model from plain text."""

import shlex
from typing import Any

from rewardgap.commands.command import Command, say_where


def _advise(config: Any) -> str:
    model = shlex.quote(config.out)
    return f"next: rewardgap train --model {model} --kind KIND --train DATA --out RUN"


PRETRAIN = Command(
    "pretrain",
    ".training.pretrain:pretrain",
    ".configs.training:PretrainConfig",
    say_where,
    "rewardgap pretrain --text agreement:dialogues --out models/small",
    advice=_advise,
)
