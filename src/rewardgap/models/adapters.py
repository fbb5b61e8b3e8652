"""Adapters by PEFT: trained weights of low rank beside the frozen ones of a transformers model.

PEFT replaces linear layers of the model in place, so that whatever reads the model stays as it is.
A head is trained in full and saved with the adapter.
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
from rewardgap.errors import UserError, reported
from rewardgap.models.heads import head_name, head_of
from rewardgap.models.loading import quiet
from rewardgap.models.reading import body_of

if TYPE_CHECKING:
    from peft import PeftConfig

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the names of weights in its files."""


@dataclass(frozen=True)
class Adapter:
    """The adapter in a transformers model, of which nothing else is trained but a head.

    Attributes:
        model: The transformers model, with PEFT's layers in it.
        base: What the adapter's files call the model that it belongs to.
        quantised: Whether that model's blocks are in 4 bits.
    """

    model: PreTrainedModel
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
        from peft import LoraConfig

        head = head_name(model)
        if head is None and type(model).__name__.endswith("ForSequenceClassification"):
            raise UserError(f"the head of a {type(model).__name__} is no layer to save: no adapter")
        settings = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules=config.lora_targets or "all-linear",
            use_dora=config.adapter == "dora",
            task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
        )
        with torch.random.fork_rng(devices=[]), reported(ValueError, "lora_targets: "):
            torch.manual_seed(seed)
            _inject(model, settings)
        inside = _blocks(model)
        outside = [name for name, _ in _adapted(model) if name not in inside]
        if outside:
            raise UserError(
                f"lora_targets: {outside[0]} is no layer of the transformer blocks; name others"
            )
        return cls(model, base, config.quantise is not None)

    @classmethod
    def load(cls, model: PreTrainedModel, folder: Path, base: str, quantised: bool) -> Self:
        """Give a model the adapter in `folder`, and the head that is saved with it.

        Raises:
            UserError: It cannot be read, or does not fit the model.
        """
        from peft import PeftConfig, set_peft_model_state_dict

        with reported(Exception, f"the adapter in {folder} does not fit {base}: "):
            settings = PeftConfig.from_pretrained(str(folder))
            weights = load_file(folder / ADAPTER_WEIGHTS)
            settings.modules_to_save = None  # the head is a layer as any other here
            _inject(model, settings)
            adapter = cls(model, base, quantised)
            missing = adapter.state_dict().keys() ^ weights.keys()
            if missing:
                raise ValueError(f"{min(missing)} is in one of them alone")
            set_peft_model_state_dict(model, weights)
        return adapter

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
        settings: Any = copy(_settings(self.model))
        settings.base_model_name_or_path = self.base
        settings.inference_mode = True
        settings.target_modules = sorted(settings.target_modules)  # the same file every time
        head = head_name(self.model)
        settings.modules_to_save = None if head is None else [head]
        settings.save_pretrained(str(folder))
        config = copy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.save_pretrained(folder)

    def keep_frozen_in(self, dtype: torch.dtype) -> None:
        """Keep the frozen matrices of the blocks in the precision of matrix products.

        They are rounded to it in every product anyway, so that no bit of a reward changes. DoRA
        reads them elsewhere, too.
        """
        if self.quantised or getattr(_settings(self.model), "use_dora", False):
            return
        for matrix in self.frozen_matrices():
            matrix.data = matrix.data.to(dtype)

    def frozen_matrices(self) -> list[nn.Parameter]:
        """Return the weights of the linear layers of the blocks, which are not trained."""
        inside = _blocks(self.model)
        weights = [
            cast(nn.Parameter, module.weight)
            for name, module in self.model.named_modules()
            if name in inside and isinstance(module, nn.Linear)
        ]
        return [weight for weight in weights if not weight.requires_grad]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Let the model be its base: the reference of an implicit model."""
        for _, layer in _adapted(self.model):
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for _, layer in _adapted(self.model):
                layer.enable_adapters(True)

    def merge(self) -> None:
        """Write the adapter's changes into the weights of the model, which is ordinary then."""
        for name, layer in _adapted(self.model):
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(self.model.get_submodule(parent), child, layer.get_base_layer())
        vars(self.model).pop("peft_config")


def _inject(model: PreTrainedModel, settings: "PeftConfig") -> None:
    """Put an adapter into a model and freeze all else but the head."""
    from peft import inject_adapter_in_model

    with quiet():
        inject_adapter_in_model(settings, model, low_cpu_mem_usage=model.device.type == "meta")
    head = head_of(model)
    if head is not None:
        head.requires_grad_(True)


def _settings(model: PreTrainedModel) -> "PeftConfig":
    """Return the settings of the only adapter of a model."""
    (settings,) = model.peft_config.values()
    return cast("PeftConfig", settings)


def _adapted(model: PreTrainedModel) -> list[tuple[str, Any]]:
    """Return PEFT's layers in a model, with their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = model.named_modules()
    return [(name, module) for name, module in modules if isinstance(module, BaseTunerLayer)]


def _blocks(model: PreTrainedModel) -> set[str]:
    """Return the names of all modules of the transformer blocks."""
    body = body_of(model)
    lists = [part for part in body.children() if isinstance(part, nn.ModuleList)]
    inside = {id(module) for part in lists for module in part.modules()}
    return {name for name, module in model.named_modules() if id(module) in inside}
