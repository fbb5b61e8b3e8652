"""The command serve: rewards over HTTP."""

from rewardgap.commands.command import Command

SERVE = Command(
    "serve",
    ".serving.serve:serve",
    ".configs.serving:ServeConfig",
    lambda config, result: "",
    "rewardgap serve runs/explicit --port 8000",
    positional="model",
)
