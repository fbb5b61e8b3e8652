"""Checkpoints: all that a run needs to continue with the same bits, without a pickle.

The order of the data and the learning rate are functions of the step, and nothing is random
within a step: weights, Adam's moments and the step number are the whole state. The log up to the
step is kept with them, and a checksum of every file in `state.json`.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rewardgap.errors import UserError
from rewardgap.io.files import checksum, read_json, whole_file, whole_folder, write_text
from rewardgap.io.run_folder import checkpoint_name, step_of
from rewardgap.models.processes import ALONE, Processes
from rewardgap.training.adam import restore_state, state_tensors
from rewardgap.training.parallel import (
    fill,
    gathered,
    is_divided,
    read_parts,
    shapes_of_parts,
    write_parts,
)
from rewardgap.training.step_log import DAMAGE, StepLog

logger = logging.getLogger(__name__)

PREFIX = "eval_accuracy/"
"""The log has the accuracy on a held-out set under this and the set's name."""
WEIGHTS, MOMENTS, LOG, STATE = "weights.safetensors", "adam.safetensors", "log.jsonl", "state.json"


def save_checkpoint(
    folder: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    log: StepLog,
    processes: Processes = ALONE,
) -> None:
    """Write the state after `step` steps as a whole folder, then remove older ones.

    Of weights that are divided among `processes`, each writes its part.
    """
    latest = folder / checkpoint_name(step)
    divided = is_divided(parameters.values())
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    moments = {
        f"{key}/{name}": value
        for name, parameter in parameters.items()
        for key, value in state_tensors(optimizer, parameter).items()
    }
    if not (divided or processes.is_main):
        return
    with whole_folder(latest) if processes.is_main else nullcontext() as unfinished:
        if divided:
            shared = cast(Path, processes.decide(lambda: unfinished))
            write_parts(shared, weights | {k: v for k, v in moments.items() if is_divided([v])})
        if unfinished is None:
            return
        if not divided:
            save_file(weights, unfinished / WEIGHTS)
            save_file(moments, unfinished / MOMENTS)
        shutil.copyfile(log.path, unfinished / LOG)
        write_text(unfinished / STATE, json.dumps(_state(unfinished, step, log), indent=2))
    for older in folder.glob("step-*"):
        if older != latest:
            shutil.rmtree(older)


def load_checkpoint(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    processes: Processes = ALONE,
) -> tuple[int, str]:
    """Restore the latest checkpoint, whatever number of processes has written it.

    One that is damaged is passed over with a warning.

    Returns:
        Its number of steps and the log of these; 0 and an empty log if there is no checkpoint.

    Raises:
        UserError: All checkpoints are damaged, or the latest one does not fit the model.
    """
    latest = processes.decide(lambda: _latest_intact(folder))
    return (0, "") if latest is None else _restore(latest, parameters, optimizer)


def _latest_intact(folder: Path) -> Path | None:
    """Return the latest checkpoint that is not damaged, None if there is none at all."""
    paths = sorted(folder.glob("step-*"), reverse=True)
    for latest in paths:
        if _is_intact(latest):
            return latest
        logger.warning("the checkpoint %s is damaged; an older one is looked for", latest)
    if paths:
        raise UserError(
            f"{paths[0]} is damaged, and there is no other checkpoint: "
            f"remove {folder} to train from the first step"
        )
    return None


def _restore(
    latest: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, str]:
    whole: dict[str, torch.Tensor] = {}
    if (latest / WEIGHTS).exists() and not is_divided(parameters.values()):
        whole = load_file(latest / WEIGHTS) | load_file(latest / MOMENTS)
    shapes = {name: value.shape for name, value in whole.items()} or shapes_of_parts(latest)
    weights = {name: shape for name, shape in shapes.items() if "/" not in name}
    if weights != {name: parameter.shape for name, parameter in parameters.items()}:
        raise UserError(f"{latest} is a checkpoint of another model; remove it to start anew")
    if whole:
        _fill_whole(whole, parameters, optimizer)
    else:
        _fill_parts(latest, shapes, parameters, optimizer)
    return step_of(latest), (latest / LOG).read_text(encoding="utf-8")


def _fill_whole(
    saved: Mapping[str, torch.Tensor],
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Give parameters and their optimiser what a file has of them."""
    states: dict[str, dict[str, torch.Tensor]] = {name: {} for name in parameters}
    for joined, value in saved.items():
        key, slash, name = joined.partition("/")
        if slash:
            states[name][key] = value
    for name, parameter in parameters.items():
        parameter.data.copy_(saved[name])
        if states[name]:
            restore_state(optimizer, parameter, states[name])


def _fill_parts(
    latest: Path,
    shapes: Mapping[str, torch.Size],
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Give parameters and Adam, divided or whole, what files have of their parts."""
    state = {name: parameter.detach() for name, parameter in parameters.items()}
    for joined in shapes.keys() - parameters.keys():
        key, _, name = joined.partition("/")
        moments, parameter = optimizer.state[parameters[name]], parameters[name]
        moments["step"] = torch.tensor(float(step_of(latest)), device=parameter.device)
        if key != "step":
            moments[key] = state[joined] = torch.zeros_like(parameter, requires_grad=False)
    read_parts(latest, state)


def _state(path: Path, step: int, log: StepLog) -> dict[str, object]:
    """Return what `state.json` says of the other files of a checkpoint, with their checksums."""
    files = {file.name: checksum(file) for file in sorted(path.glob("*.safetensors"))}
    return {"step": step, "xxh3_128": {LOG: log.checksum} | files}


def _is_intact(path: Path) -> bool:
    """Return whether all files of a checkpoint are what they were when it was written."""
    try:
        log = StepLog.of(path / LOG, (path / LOG).read_text(encoding="utf-8"))
        return bool(read_json(path / STATE) == _state(path, step_of(path), log))
    except (UserError, OSError, *DAMAGE):
        return False


@dataclass
class BestWeights:
    """The weights after the step with the highest accuracy on a set so far, of equal ones the last.

    They are on disk, beside the checkpoints. A run that goes on from a checkpoint knows the
    accuracies up to there from its log, and takes the later steps again.

    Attributes:
        name: The set; empty if nothing is to be kept.
        folder: Where they are.
        accuracy: The highest so far; below 0 before any.
    """

    name: str
    folder: Path
    accuracy: float

    @classmethod
    def of(cls, name: str, folder: Path, log: str) -> "BestWeights":
        """Return those of a run whose log so far has these lines."""
        seen = [json.loads(line).get(PREFIX + name, -1.0) for line in log.splitlines()]
        return cls(name, folder, max(seen, default=-1.0))

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.folder / "best.safetensors"

    def keep(
        self,
        row: Mapping[str, float],
        parameters: Mapping[str, nn.Parameter],
        processes: Processes = ALONE,
    ) -> None:
        """Keep the weights after the step of a log's row if none before was better."""
        accuracy = row.get(PREFIX + self.name)
        if accuracy is None or accuracy < self.accuracy:
            return
        self.accuracy = accuracy
        weights = {}
        for name, value in gathered(parameters):
            if processes.is_main:
                weights[name] = value.cpu() if is_divided(parameters.values()) else value
        if processes.is_main:
            with whole_file(self.path) as unfinished:
                save_file(weights, unfinished, {"step": str(row["step"])})

    def restore(self, parameters: Mapping[str, nn.Parameter], processes: Processes = ALONE) -> None:
        """Give the parameters the weights that were kept, if any were.

        Raises:
            UserError: The file is gone or damaged.
        """
        if self.accuracy < 0:
            return
        processes.wait()  # until the main one has written them
        try:
            weights = load_file(self.path)
        except (OSError, SafetensorError) as error:
            remedy = f"remove {self.folder} to train from the first step"
            raise UserError(f"{self.path} cannot be read: {error}; {remedy}") from error
        for name, parameter in parameters.items():
            fill(parameter.detach(), weights[name])
        logger.info("kept the weights that rank %s best: accuracy %.3f", self.name, self.accuracy)
