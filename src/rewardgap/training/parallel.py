"""How several processes that train one model divide it among them.

Every process holds a whole copy (DDP), or its part of every weight, gradient and moment of Adam
(FSDP2: `fully_shard`). Only this module knows of either.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm

from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError, first_line, reported
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.processes import DIVIDERS, MetProcesses, Model
from rewardgap.models.reading import TreeReading, layers_of

logger = logging.getLogger(__name__)

PASSES = ("score", "base_log_probs")
"""Methods beside `forward` in which a model that is divided is gathered."""


@dataclass(frozen=True, kw_only=True)
class TrainingProcesses(MetProcesses):
    """The processes of a run."""

    offload: bool = False
    """Whether the parts of a model that is divided are in the computer's memory."""
    remedy: ClassVar[str] = "--resume continues from the last checkpoint"

    @classmethod
    def open(cls, config: TrainConfig) -> Self:
        """Meet the other processes of the run, if this one was started with others.

        Raises:
            UserError: They do not find each other, or there is no such device.
        """
        # Gradients are exchanged where they are: otherwise there would be another copy of them.
        in_place = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        met = cls.meet(
            config.device,
            config.shard,
            log_with=config.report_to or None,
            project_dir=config.out,
            kwargs_handlers=[in_place],
        )
        if config.offload and (met.device.type == "cpu" or not met.shard):
            raise UserError("offload is for several processes with a GPU each: leave it out")
        return replace(met, offload=config.offload)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process and then, when it is done there, in all others."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up the values of all processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def build(self, make: Callable[[], Model]) -> Model:
        """Return the model that `make` gives; where it is divided, this process's part of it.

        The main process alone makes it. The others get all of it but its weights, which are not
        even read there, and then their parts of these, weight after weight.
        """
        if not self.shard:
            return make()
        whole = make() if self.is_main else None
        with reported((pickle.PicklingError, AttributeError), "shard cannot pass on the model: "):
            model = cast(Model, self.decide(lambda: _without_weights(cast(nn.Module, whole))))
        self._divide(model)
        self._fill(model, dict(whole.named_parameters()) if whole is not None else {})
        return model

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Bring a model to a device, unless it is divided: each part is where it belongs."""
        if not is_divided(model.parameters()):
            model.to(device)

    def _divide(self, model: nn.Module) -> None:
        """Divide a model on a language model, whose passes are calls of `forward` or of `PASSES`.

        Every layer is gathered when it is computed, and the rest of the model in every pass. Where
        a pack is read in several passes, as many as it has sequences, the model is gathered as a
        whole: processes would wait for each other's layers.
        """
        language_model: LanguageModel | None = getattr(model, "language_model", None)
        if language_model is None:
            return
        mesh, reading = init_device_mesh(self.device.type, (self.count,)), language_model.reading
        in_one_pass = isinstance(reading, TreeReading) and reading.limit is None
        policy = CPUOffloadPolicy() if self.offload else OffloadPolicy()
        for layer in layers_of(language_model.model) if in_one_pass else ():
            fully_shard(layer, mesh=mesh, offload_policy=policy)
        # Not left gathered after a pass: weights may be changed before the next one.
        fully_shard(model, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
        if isinstance(model, RewardModel):
            model.computes_on = self.device
        for name in PASSES:
            if hasattr(model, name):
                register_fsdp_forward_method(model, name)

    def _fill(self, model: nn.Module, whole: Mapping[str, torch.Tensor]) -> None:
        """Give a model without weights those of the main process, which alone has `whole` ones."""
        parts: dict[nn.Parameter, nn.Parameter] = {}
        for name, part in model.named_parameters():
            value = whole[name].detach() if whole else torch.empty(part.shape, dtype=part.dtype)
            value = value.to(self.device)
            if isinstance(part, DTensor):
                value = distribute_tensor(value, part.device_mesh, part.placements)
            else:
                distributed.broadcast(value, src=0)
            parts[part] = nn.Parameter(value.cpu() if self.offload else value, part.requires_grad)
        names = model.named_parameters(remove_duplicate=False)  # of a tied weight both
        model.load_state_dict({name: parts[p] for name, p in names}, strict=False, assign=True)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return a model that is placed as what a pass calls, so that gradients are exchanged."""
        if is_divided(model.parameters()):
            return model
        return cast(nn.Module, self.accelerator.prepare(model))

    def gradients(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Return the context of a pass, in the last of which whole gradients are exchanged.

        Gradients that are divided are exchanged in every pass: none is ever held as a whole.
        """
        at_once = last or is_divided(wrapped.parameters())
        return nullcontext() if at_once else self.accelerator.no_sync(wrapped)

    def norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm of all gradients together, whole or divided."""
        if not is_divided(gradients):
            return get_total_norm(gradients)
        parts = [cast(DTensor, gradient).to_local() for gradient in gradients]
        # On the device: processes exchange nothing that is in the computer's memory.
        return self.sum(get_total_norm(parts).to(self.device).square()).sqrt()

    def whole_model(self, model: RewardModel, build: Callable[[], RewardModel]) -> RewardModel:
        """Return a trained model with whole weights, in the main process.

        One that was divided is built again there and given the weights that were trained; other
        processes, which all have to call this, return their part.
        """
        if not is_divided(model.parameters()):
            return model
        whole = build() if self.is_main else None
        targets = dict(whole.named_parameters()) if whole is not None else {}
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for name, value in gathered(trained):
            if name in targets:
                targets[name].data.copy_(value)
        return model if whole is None else whole.eval()


def _without_weights(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose weights have shapes alone, to be sent to other processes."""
    weights = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), weight.requires_grad)
        for weight in model.parameters()
    }
    return deepcopy(model, weights)


def as_launched(config: TrainConfig) -> TrainConfig:
    """Return a configuration with `shard` where `accelerate launch` is configured to divide models.

    Raises:
        UserError: Something in it cannot be divided.
    """
    asked = [name for key, name in DIVIDERS.items() if os.environ.get(key, "").lower() == "true"]
    if not asked or config.shard:
        return config
    if os.environ.get("RANK", "0") == "0":
        logger.warning(
            "accelerate is configured for %s: this run is divided as by shard, and takes no other "
            "setting of that configuration",
            asked[0],
        )
    return replace(config, shard=True)


def is_divided(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether each process has only its part of tensors, such as a model's weights."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def fill(tensor: torch.Tensor, whole: torch.Tensor) -> None:
    """Copy a whole tensor into one that may be divided; each process has the whole one."""
    if isinstance(tensor, DTensor):
        mesh, placements = tensor.device_mesh, tensor.placements
        whole = distribute_tensor(whole.to(tensor.device), mesh, placements, src_data_rank=None)
    tensor.copy_(whole)


def gathered(parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield whole weights one by one; where they are divided, all processes have to call this."""
    for name, parameter in parameters.items():
        yield name, whole_tensor(parameter.detach())


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as a whole; where it is divided, all processes have to call this."""
    if isinstance(tensor, DTensor):  # brought to the device: parts elsewhere are not exchanged
        tensor = cast(DTensor, tensor.to(tensor.device_mesh.device_type)).full_tensor()
    return tensor


def write_parts(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write divided tensors, each process a safetensors file of its parts; all have to call this.

    Raises:
        UserError: A process could not write.
    """
    with _reported_failures(f"cannot write {folder}: "):
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        save(dict(tensors), storage_writer=writer)


def shapes_of_parts(folder: Path) -> dict[str, torch.Size]:
    """Return the shapes of the whole tensors in a folder's safetensors files."""
    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: tensor.size
        for name, tensor in stored.items()
        if isinstance(tensor, TensorStorageMetadata)
    }


def read_parts(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill tensors, whole or divided, from safetensors files that any number of processes wrote."""
    with _reported_failures(f"cannot read {folder}: "):
        reader = HuggingFaceStorageReader(str(folder))
        load(dict(tensors), storage_reader=reader, no_dist=True)


@contextmanager
def _reported_failures(before: str) -> Iterator[None]:
    try:
        yield
    except CheckpointException as error:
        (failure, _), *_ = error.failures.values()
        cause = getattr(failure, "strerror", None) or first_line(failure)
        raise UserError(f"{before}{cause}") from error
