"""The best weights along training: those of the step that ranks a held-out set best."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rewardgap.errors import UserError
from rewardgap.io.files import whole_file

logger = logging.getLogger(__name__)

PREFIX = "eval_accuracy/"
"""The log has the accuracy on a held-out set under this and the set's name."""


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

    def keep(self, row: Mapping[str, float], parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep the weights after the step of a log's row if none before was better."""
        accuracy = row.get(PREFIX + self.name)
        if accuracy is None or accuracy < self.accuracy:
            return
        self.accuracy = accuracy
        with whole_file(self.path) as unfinished:
            weights = {name: parameter.detach() for name, parameter in parameters.items()}
            save_file(weights, unfinished, {"step": str(row["step"])})

    def restore(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Give the parameters the weights that were kept, if any were.

        Raises:
            UserError: The file is gone or damaged.
        """
        if self.accuracy < 0:
            return
        try:
            weights = load_file(self.path)
        except (OSError, SafetensorError) as error:
            remedy = f"remove {self.folder} to train from the first step"
            raise UserError(f"{self.path} cannot be read: {error}; {remedy}") from error
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
        logger.info("kept the weights that rank %s best: accuracy %.3f", self.name, self.accuracy)
