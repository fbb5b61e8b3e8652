"""A second device on a machine that has none: `other`, whose tensors torch takes for foreign.

They lie in main memory, and every operation is computed there; one that mixes the two devices fails
as it does on a GPU. Views that are not contiguous are copies: gradients through attention can be
computed, but are not right. `add_device` changes torch for the rest of the process, so run this as
a script: `python second_device.py JSON …` calls, for each list [module, function, module of the
configuration, its class, its keys], the function with that configuration, on `other`.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "other"
MIXING = {"copy_", "_copy_from"}
"""Operations that may have tensors of both devices."""

_there: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
"""By the address of its storage, a tensor of the device and the one in main memory."""


class Device:
    """What torch asks a device for."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def send(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the device for one in main memory."""
    tensor = tensor.contiguous()
    sent = torch._C._acc.create_empty_tensor(tensor.shape, tensor.dtype)
    _there[sent.untyped_storage()._cdata] = (sent, tensor)
    return sent


def fetch(value: Any) -> Any:
    """What stands for a tensor, or the name of a device, in main memory."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if not isinstance(value, torch.Tensor) or value.device.type == "cpu":
        return value
    tensor = _there[value.untyped_storage()._cdata][1]
    return tensor if tensor.shape == value.shape else tensor.view(value.shape)


def compute(operation: Any, *args: Any, **keywords: Any) -> Any:
    """Run an operation in main memory on tensors of the device."""
    name = operation._schema.name.removeprefix("aten::")
    tensors = [x for x in pytree.tree_leaves((args, keywords)) if isinstance(x, torch.Tensor)]
    here = [x for x in tensors if x.device.type == "cpu" and x.ndim]
    if here and len(here) < len(tensors) and name not in MIXING:
        places = [(x.device.type, tuple(x.shape)) for x in tensors]
        raise RuntimeError(f"{operation} expects all tensors on the same device: {places}")
    fetched, named = pytree.tree_map(fetch, (args, keywords))
    fetched = [
        torch.tensor(x) if isinstance(x, int | float) and str(parameter.type) == "Tensor" else x
        for x, parameter in zip(fetched, operation._schema.arguments, strict=False)
    ]
    if name == "_copy_from":
        fetched[1].copy_(fetched[0])
        return args[1]
    if name == "view":
        result = fetched[0].reshape(fetched[1])
    elif name == "as_strided":  # offsets are from the beginning of a tensor of the device
        first, size, stride, *offset = fetched
        result = first.as_strided(size, stride, first.storage_offset() + ([*offset, 0][0] or 0))
    else:
        result = operation(*fetched, **named)
    return _returned(operation._schema, result, args, keywords)


def _returned(schema: Any, result: Any, args: Any, keywords: Any) -> Any:
    """The tensors of the device for a result; those that were written to are the arguments."""
    results = result if len(schema.returns) > 1 else (result,)
    returned = []
    for value, form in zip(results, schema.returns, strict=False):
        if form.alias_info is None or not form.alias_info.is_write:
            returned.append(pytree.tree_map_only(torch.Tensor, send, value))
            continue
        place, name = next(
            (place, argument.name)
            for place, argument in enumerate(schema.arguments)
            if argument.alias_info is not None
            and argument.alias_info.before_set == form.alias_info.before_set
        )
        written = args[place] if place < len(args) else keywords[name]
        if written.shape != value.shape:  # an empty `out`
            written.data = send(value)
        returned.append(written)
    return tuple(returned) if len(returned) > 1 else next(iter(returned), None)


def add_device() -> torch.library.Library:
    """Add the device to torch; it is there as long as what is returned."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, Device())
    library = torch.library.Library("_", "IMPL", "PrivateUse1")
    library.fallback(compute, "PrivateUse1")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    return library


def save_from_main_memory() -> None:
    """Have models saved from there: their storages here have no addresses, which look shared."""
    from rewardgap.models.language_model import LanguageModel

    save = LanguageModel.save

    def fetch_and_save(model: LanguageModel, *arguments: Any) -> None:
        torch.nn.Module.to(model.model, "cpu")
        save(model, *arguments)
        torch.nn.Module.to(model.model, NAME)

    LanguageModel.save = fetch_and_save


def main() -> None:
    os.environ["ACCELERATE_TORCH_DEVICE"] = NAME
    _library = add_device()
    torch.set_num_threads(1)
    save_from_main_memory()
    for words in sys.argv[1:]:
        module, function, form, name, values = json.loads(words)
        config = getattr(import_module(form), name)(**values, device=NAME)
        getattr(import_module(module), function)(config)
    os._exit(0)  # torch is not prepared for the end of such a device


if __name__ == "__main__":
    main()
