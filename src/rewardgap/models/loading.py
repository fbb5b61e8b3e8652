"""Reading a model's folder: its configuration and weights, never its code, never a pickle."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from rewardgap.errors import UserError, first_line, reported
from rewardgap.io.files import read_json

INDEX = "model.safetensors.index.json"


class quiet:
    """Silence the progress bars and warnings of transformers."""

    def __enter__(self) -> None:
        self.level = transformers_logging.get_verbosity()
        self.bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers_logging.set_verbosity(self.level)
        if self.bars:
            transformers_logging.enable_progress_bar()


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model; no setting of how it is computed is taken from it.

    Raises:
        UserError: It cannot be read, or is of a model that only code in the folder can compute.
    """
    try:
        with quiet():
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            config._attn_implementation = None
            config._experts_implementation = None
            config.output_attentions = config.output_hidden_states = False
            config.return_dict = True
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{folder} comes with Python code of its own (auto_map), which is never run: use a "
                "model that transformers knows without it"
            ) from error
        raise UserError(f"cannot read {folder / 'config.json'}: {first_line(error)}") from error
    names = config.architectures
    if names is not None and not (
        isinstance(names, list) and all(isinstance(n, str) for n in names)
    ):
        raise UserError(f"{folder / 'config.json'}: architectures must be names, not {names!r:.40}")
    return config


def load_model(
    folder: Path, auto_class: Any, dtype: torch.dtype, config: PreTrainedConfig | None = None
) -> tuple[PreTrainedModel, set[str]]:
    """Load a model with its own attention and without dropout, in evaluation mode.

    Args:
        folder: The model's folder.
        auto_class: The transformers class to load it as.
        dtype: Precision of the weights.
        config: Its configuration, where it is not that of the folder.

    Returns:
        The model, and the names of its weights that the folder does not have.

    Raises:
        UserError: The configuration or the weights cannot be read, or would be unpickled.
    """
    config = read_config(folder) if config is None else config
    _refuse_pickles(folder, config)
    _refuse_missing_layers(folder, config)
    with quiet(), reported(Exception, f"cannot load a model from {folder}: "):
        model, loading = auto_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    _refuse_unread_layers(model, loading["unexpected_keys"], folder)
    switch_off_noise(model)
    return model, set(loading["missing_keys"])


def _refuse_missing_layers(folder: Path, config: PreTrainedConfig) -> None:
    """Refuse more layers than there are weights, before any is built."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    stored = 0
    with reported(Exception, f"cannot load a model from {folder}: "):
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                stored += len(list(file.keys()))
    if isinstance(layers, int) and layers > stored > 0:
        raise UserError(
            f"{folder / 'config.json'} counts {layers} layers, and there are {stored} weights: "
            "correct num_hidden_layers"
        )


def _refuse_unread_layers(model: nn.Module, unread: Iterable[str], folder: Path) -> None:
    """Refuse weights of layers that the configuration counts too few for: rewards without them."""
    stacks = {n: len(m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    for name in sorted(unread):
        for number in re.finditer(r"\.(\d+)\.", name):
            if int(number[1]) >= stacks.get(name[: number.start()], math.inf):
                raise UserError(
                    f"{folder} has weights {name}, but by its config.json there is no such layer: "
                    "correct num_hidden_layers"
                )


def refuse_missing(missing: set[str], model: PreTrainedModel, folder: Path) -> None:
    """Raise a UserError if the folder does not have all weights of a model."""
    if missing:
        raise UserError(
            f"{folder} has no weights {min(missing)} of a {type(model).__name__}: was it saved "
            "as a model of another kind?"
        )


def _refuse_pickles(folder: Path, config: PreTrainedConfig) -> None:
    """Refuse an index, a setting or a folder by which something else than safetensors is read."""
    path = folder / INDEX
    names = [str(getattr(config, "transformers_weights", None) or INDEX)]
    if path.exists():
        index = read_json(path)
        with reported((KeyError, TypeError, AttributeError), f"cannot read {path}: "):
            names += index["weight_map"].values()
    for name in names:
        if not str(name).endswith((".safetensors", ".safetensors.index.json")):
            raise UserError(f"{folder} names the weights {name}: only .safetensors files are read")
    if (folder / ".metadata").exists():
        raise UserError(f"{folder} has a distributed checkpoint: only .safetensors files are read")


def switch_off_noise(model: nn.Module) -> None:
    """Switch off dropout, in modules and in the settings of layers that call it as a function."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
