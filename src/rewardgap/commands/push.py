"""The command push: a trained reward model to the Hugging Face hub."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, upload: Any) -> str:
    from rewardgap.evaluation.text import align_columns

    if upload.address is not None:
        return f"pushed {len(upload.files)} files to {upload.address}\n"
    rows = [(f"{size:,}", name) for name, size in upload.files.items()]
    return f"{align_columns(rows, right=[0])}\nnothing is pushed: this is a dry run\n"


PUSH = Command(
    "push",
    ".serving.push:push",
    ".configs.serving:PushConfig",
    _say,
    "rewardgap push runs/explicit NAME/my-reward-model --private",
    positional="run repo",
)
