"""Adapters by PEFT: trained weights of low rank beside the frozen ones of a transformers model.

PEFT replaces layers of the model in place, so that whatever reads the model stays as it is. A head
is trained in full and saved with the adapter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from rewardgap.configs.adapters import AdapterConfig
from rewardgap.errors import UserError, reported, require_package
from rewardgap.models.heads import head_name, head_of
from rewardgap.models.loading import quiet

if TYPE_CHECKING:
    from peft import LoraConfig, LoraModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
NAME = "default"
"""PEFT's name of the only adapter of a model, which is in no file."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of weights in its files."""


@dataclass(frozen=True)
class Adapter:
    """The adapter in a transformers model, of which nothing else is trained but a head.

    Attributes:
        tuner: PEFT's view of the model.
        base: What the adapter's files call the model that it belongs to.
        quantised: Whether that model's blocks are in 4 bits.
    """

    tuner: "LoraModel"
    base: str
    quantised: bool = False

    @classmethod
    def add(cls, model: PreTrainedModel, config: AdapterConfig, base: str, seed: int) -> Self:
        """Give a model a new adapter, with which it computes what it computed before.

        The random half of the adapter is drawn from `seed`. A model that is to be quantised is so
        already.

        Raises:
            UserError: The head is no linear layer, or what `lora_targets` names cannot be adapted.
        """
        require_package("peft", "lora", f"adapter is {config.adapter}")
        from peft import LoraConfig

        head = head_name(model)
        if head is None and type(model).__name__.endswith("ForSequenceClassification"):
            name = type(model).__name__
            raise UserError(f"adapter: the head of a {name} is no linear layer; leave it out")
        settings = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules=config.lora_targets or "all-linear",
            exclude_modules=_routers(model),
            use_dora=config.scales_outputs,
            task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
        )
        problem = f"no adapter with lora_targets {config.lora_targets or 'of all blocks'}: "
        with torch.random.fork_rng(devices=[]), reported(ValueError, problem):
            torch.manual_seed(seed)
            tuner = _inject(model, settings)
        _refuse_outer_layers(model)
        return cls(tuner, base, config.quantise is not None)

    @classmethod
    def load(cls, model: PreTrainedModel, folder: Path, base: str, quantised: bool) -> Self:
        """Give a model the adapter in `folder`, and the head that is saved with it.

        Raises:
            UserError: It cannot be read, or does not fit the model.
        """
        from peft import PeftConfig, set_peft_model_state_dict

        with reported(Exception, f"the adapter in {folder} does not fit {base}: "):
            settings = cast(Any, PeftConfig.from_pretrained(str(folder)))
            weights = load_file(folder / ADAPTER_WEIGHTS)
            settings.modules_to_save = None  # the head is a layer as any other here
            adapter = cls(_inject(model, settings), base, quantised)
            missing = adapter.state_dict().keys() ^ weights.keys()
            if missing:
                raise ValueError(f"{min(missing)} is in one of them alone")
            set_peft_model_state_dict(model, weights)
        return adapter

    @property
    def model(self) -> PreTrainedModel:
        """The transformers model, with PEFT's layers in it."""
        return cast(PreTrainedModel, self.tuner.model)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights of adapter and head, under PEFT's names in files."""
        from peft import get_peft_model_state_dict

        weights = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        if (head := head_of(self.model)) is not None:
            name = head_name(self.model)
            weights |= {f"{name}.{key}": tensor for key, tensor in head.state_dict().items()}
        return {PREFIX + name: tensor for name, tensor in weights.items()}

    def save(self, folder: Path) -> None:
        """Write the adapter with its head, as PEFT reads them on their base.

        The configuration of the model lies beside them: it decides of which class a tokenizer is.
        """
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / ADAPTER_WEIGHTS, {"format": "pt"})
        settings, head = copy(self.settings), head_name(self.model)
        settings.base_model_name_or_path = self.base
        settings.inference_mode = True
        settings.modules_to_save = None if head is None else [head]
        for name in ("target_modules", "target_parameters", "exclude_modules"):
            if isinstance(value := getattr(settings, name), set):
                setattr(settings, name, sorted(value))  # so that the file is always the same
        settings.save_pretrained(str(folder))
        config = copy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.save_pretrained(folder)

    @property
    def settings(self) -> "LoraConfig":
        """The adapter's settings, as PEFT has completed them."""
        return cast("LoraConfig", self.tuner.peft_config[NAME])

    @property
    def reads_matrices(self) -> bool:
        """Whether the adapter reads the matrices of the blocks otherwise than by their products."""
        return self.settings.use_dora

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Let the model be its base: the reference of an implicit model."""
        self.tuner.disable_adapter_layers()
        try:
            yield
        finally:
            self.tuner.enable_adapter_layers()

    def merge(self) -> None:
        """Write the adapter's changes into the weights of the model, which is ordinary then."""
        self.tuner.merge_and_unload(safe_merge=True)


def _inject(model: PreTrainedModel, settings: "LoraConfig") -> "LoraModel":
    """Put an adapter into a model and freeze all else but the head."""
    from peft import LoraModel

    on_meta = model.device.type == "meta"
    with quiet():
        tuner = LoraModel(model, settings, NAME, low_cpu_mem_usage=on_meta)
    if (head := head_of(model)) is not None:
        head.requires_grad_(True)
    return tuner


def _routers(model: PreTrainedModel) -> list[str] | None:
    """Return the names of routers that are linear layers and return more than a product."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and type(module).__name__.endswith("Router")
    ]
    return names or None


def _refuse_outer_layers(model: PreTrainedModel) -> None:
    """Refuse an adapter of the embeddings, the output layer or the head, which are read as such."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    outer = (head_of(model), model.get_input_embeddings(), model.get_output_embeddings())
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and (module in outer or "." not in name):
            raise UserError(f"lora_targets: {name} is no layer of the blocks; name others")
