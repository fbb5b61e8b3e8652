"""Checkpoints: all that a run needs to continue with the same bits, without a pickle.

The order of the data and the learning rate are functions of the step, and nothing is random
within a step: weights, Adam's moments and the step number are the whole state.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rewardgap.errors import UserError
from rewardgap.io.files import whole_folder, write_text


def save_checkpoint(
    folder: Path, step: int, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Adam
) -> None:
    """Write the state after `step` steps as a whole folder, then remove older ones."""
    latest = folder / f"step-{step:08d}"
    moments = {
        f"{key}/{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }
    with whole_folder(latest) as unfinished:
        weights = {name: parameter.detach() for name, parameter in parameters.items()}
        save_file(weights, unfinished / "weights.safetensors")
        save_file(moments, unfinished / "adam.safetensors")
        write_text(unfinished / "state.json", json.dumps({"step": step}))
    for older in folder.glob("step-*"):
        if older != latest:
            shutil.rmtree(older)


def load_checkpoint(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Adam
) -> int:
    """Restore the latest checkpoint and return its number of steps, 0 if there is none.

    Raises:
        UserError: The checkpoint does not fit the model.
    """
    latest = max(folder.glob("step-*"), default=None)
    if latest is None:
        return 0
    weights = load_file(latest / "weights.safetensors")
    moments = load_file(latest / "adam.safetensors")
    if weights.keys() != parameters.keys():
        raise UserError(f"{latest} is a checkpoint of another model; remove it to start anew")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    for joined, value in moments.items():
        key, _, name = joined.partition("/")
        parameter = parameters[name]
        optimizer.state[parameter][key] = value.to(parameter.device)
    step: int = json.loads((latest / "state.json").read_text())["step"]
    return step
