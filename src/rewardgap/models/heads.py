"""Heads of explicit reward models: a linear layer on hidden states, under whatever name."""

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from rewardgap.errors import UserError, reported
from rewardgap.models.loading import load_model, quiet, read_config, refuse_missing
from rewardgap.models.reading import body_of
from rewardgap.models.self_check import tolerance

NAMES = (
    *("score", "classifier", "v_head", "value_head", "reward_head", "score_head", "rm_head"),
    *("regression_head", "regression_layer"),
)
STORED = re.compile(rf"(?:.*\.)?(?:{'|'.join(NAMES)})(?:\.summary)?\.(weight|bias)")


@dataclass(frozen=True)
class StoredHead:
    """A linear head in a folder's weights."""

    name: str
    weight: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def find(cls, folder: Path) -> "StoredHead | None":
        """Return the head in a folder's safetensors files, None if there is none."""
        tensors: dict[str, torch.Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with (
                reported(Exception, f"cannot load a model from {path}: "),
                safe_open(path, framework="pt") as file,
            ):
                names = [name for name in file.keys() if STORED.fullmatch(name)]  # noqa: SIM118
                tensors |= {name: file.get_tensor(name) for name in names}
        weights = [name for name, tensor in tensors.items() if tensor.ndim == 2]
        if len(weights) != 1:
            return None
        name = weights[0].removesuffix(".weight")
        return cls(name, tensors[weights[0]], tensors.get(f"{name}.bias"))

    def copy_to(self, head: nn.Linear) -> None:
        """Give a head these weights, and a bias only if this one has it."""
        head.weight = nn.Parameter(self.weight.to(head.weight))
        bias = None if self.bias is None else nn.Parameter(self.bias.to(head.weight))
        head.register_parameter("bias", bias)


def head_name(model: PreTrainedModel) -> str | None:
    """Return the attribute of a classification model's linear head, None if it is no such layer."""
    return next((name for name in NAMES if isinstance(getattr(model, name, None), nn.Linear)), None)


def head_of(model: PreTrainedModel) -> nn.Linear | None:
    """Return a classification model's linear head, None if it has another form."""
    name = head_name(model)
    return None if name is None else cast(nn.Linear, getattr(model, name))


def load_classifier(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a sequence classification model, or a language model that was saved with a head.

    Raises:
        UserError: There is no head, or transformers has no such class for the model.
    """
    config, stored = read_config(folder), StoredHead.find(folder)
    if stored is not None and config.num_labels != len(stored.weight):
        config.num_labels = len(stored.weight)
    _refuse_other_classes(config)
    model, missing = load_model(folder, AutoModelForSequenceClassification, dtype, config)
    head = head_of(model)
    if stored is not None and head is not None:
        if stored.weight.shape != head.weight.shape:
            raise UserError(
                f"{folder}: the head {stored.name} reads {stored.weight.shape[1]} numbers, and "
                f"the states of a {type(model).__name__} have {head.in_features}"
            )
        stored.copy_to(head)
        missing -= {f"{head_name(model)}.weight", f"{head_name(model)}.bias"}
    refuse_missing(missing, model, folder)
    return model


def new_classifier(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return a classification model of the body of `model` (not a copy) and a new head.

    The head is normal with standard deviation 1/(D + 1), so that the first loss is near ln 2.

    Raises:
        UserError: transformers has no classification model of this kind with a linear head.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.problem_type = "regression"
    _refuse_other_classes(config)
    with torch.device("meta"), quiet():
        classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    body, name = body_of(model), head_name(classifier)
    setattr(classifier, classifier.base_model_prefix, body)
    on_meta = {key for key, tensor in classifier.named_parameters() if tensor.is_meta}
    device = next(body.parameters()).device
    if name is None or (device.type != "meta" and on_meta - {f"{name}.weight", f"{name}.bias"}):
        raise UserError(f"a {type(classifier).__name__} has no linear head that could be trained")
    width = cast(nn.Linear, getattr(classifier, name)).in_features
    head = nn.Linear(width, 1, bias=False, dtype=next(body.parameters()).dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(1, width, generator=generator) / (width + 1))
    setattr(classifier, name, head.to(device))
    classifier.eval()
    return classifier


def reads_last_token(model: PreTrainedModel, states: torch.Tensor, logits: torch.Tensor) -> bool:
    """Return whether (B, L) logits are the head's products with the last of (B, T, D) states."""
    head = head_of(model)
    if head is None or head.in_features != states.shape[-1]:
        return False
    with torch.no_grad():
        last = states[:, -1].to(head.weight.dtype)
        difference = (head(last) - logits).abs().max()
        size = last.norm(dim=-1).max() * head.weight.norm()
    return bool(difference <= tolerance(states.dtype) * size)


def choose_label(config: PreTrainedConfig, label: str | None) -> int:
    """Return the index of the output that is the reward.

    Raises:
        UserError: There are several outputs and none was chosen, or there is no such output.
    """
    labels: dict[Any, str] = dict(config.id2label or {})
    names = [labels.get(i, str(i)) for i in range(config.num_labels or 0)]
    if label is None and len(names) == 1:
        return 0
    if label in names:
        return names.index(label)
    if label is not None and label.isdecimal() and int(label) < len(names):
        return int(label)
    shown = ", ".join(f"{i} ({name})" for i, name in enumerate(names))
    problem = "" if label is None else f" and none is {label}"
    raise UserError(
        f"the model has {len(names)} outputs{problem}: say which one is the reward with --label: "
        f"{shown}"
    )


def _refuse_other_classes(config: PreTrainedConfig) -> None:
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise UserError(
            f"transformers has no sequence classification model for {config.model_type}, which an "
            "explicit reward model is saved as"
        )
