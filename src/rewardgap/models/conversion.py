"""Folders of another form, kept in the cache as ordinary models: adapters merged, GGUF dequantised.

A conversion is named by the contents of what it was made from, and made once.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from rewardgap.configs.kind import KindConfig
from rewardgap.data.readers import hash_path
from rewardgap.errors import UserError, reported, require_package
from rewardgap.io.cache import cache_folder, cache_key
from rewardgap.io.files import read_json, remove_unfinished, whole_folder
from rewardgap.models.adapters import ADAPTER_WEIGHTS
from rewardgap.models.heads import head_name
from rewardgap.models.hub import ADAPTER
from rewardgap.models.loading import load_model, quiet, read_config
from rewardgap.models.saved import FILE, SavedRewardModel

TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*")
MORE_TOKENIZER_FILES = ("vocab*", "merges.txt", "*.model")

logger = logging.getLogger(__name__)


def merge_adapter(folder: Path, locate: Callable[[str], Path]) -> Path:
    """Return an ordinary model folder of a PEFT adapter, merged with its base in float32.

    Args:
        folder: Holds the adapter, alone or beside the weights of its base.
        locate: Returns the folder of a base model by its name.

    Raises:
        UserError: peft is not installed, or adapter and base do not make a model.
    """
    if (folder / FILE).exists():
        return _merge_saved(folder)
    settings = folder / ADAPTER
    fields = read_json(settings)
    if not isinstance(fields, dict):
        raise UserError(f"{settings} is damaged: it is no adapter's configuration")
    require_package("peft", "lora", f"{folder} holds a LoRA adapter")
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise UserError(f"{folder} has no {ADAPTER_WEIGHTS}: only .safetensors files are read")
    is_beside = (folder / "config.json").exists() and len(list(folder.glob("*.safetensors"))) > 1
    name = fields.get("base_model_name_or_path")
    if not is_beside and not isinstance(name, str):
        raise UserError(f"{settings} is damaged: it names no base_model_name_or_path")
    with TemporaryDirectory() as links:
        base = Path(links) if is_beside else locate(str(name))
        for path in folder.iterdir() if is_beside else ():
            if not path.name.startswith("adapter_"):
                (base / path.name).symlink_to(path.resolve())

        def write(target: Path) -> None:
            is_classifier = fields.get("task_type") == "SEQ_CLS"
            merged = _merge(folder, base, is_classifier)
            with quiet():
                merged.save_pretrained(target)
            _copy_tokenizer(folder if any(folder.glob("tokenizer*")) else base, target)

        sources = [settings, folder / ADAPTER_WEIGHTS]
        sources += [base / "config.json", *sorted(base.glob("*.safetensors"))]
        return _convert(sources, write, f"the adapter in {folder}, merged with its base")


def dequantise(file: Path) -> Path:
    """Return an ordinary model folder of a GGUF file, dequantised to float32.

    Raises:
        UserError: gguf is not installed, or transformers cannot read the file.
    """
    require_package("gguf", "gguf", f"{file} is a GGUF file")

    def write(target: Path) -> None:
        with quiet(), reported(Exception, f"cannot load a model from {file}: "):
            config = AutoConfig.from_pretrained(
                file.parent, gguf_file=file.name, trust_remote_code=False
            )
            model = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, config=config, dtype=torch.float32
            )
            vars(model).pop("hf_quantizer", None)  # its weights are ordinary now
            model.config.__dict__.pop("quantization_config", None)
            model.save_pretrained(target)
            if any(file.parent.glob("tokenizer*")):
                _copy_tokenizer(file.parent, target)
            else:
                tokenizer: Any = AutoTokenizer.from_pretrained(
                    file.parent, gguf_file=file.name, trust_remote_code=False
                )
                tokenizer.save_pretrained(target)

    return _convert([file], write, f"{file}, dequantised")


def _merge_saved(folder: Path) -> Path:
    """Return the folder of a saved adapter of ours: its base must be the one of its training."""
    saved = SavedRewardModel.find(folder, None, KindConfig())
    base = saved.find_base(folder)

    def write(target: Path) -> None:
        merged, model = saved.merge(folder)
        merged.write_into(target, model)

    sources = [folder / name for name in (ADAPTER, ADAPTER_WEIGHTS, FILE)]
    sources += [base / "config.json", *sorted(base.glob("*.safetensors"))]
    return _convert(sources, write, f"the adapter in {folder}, merged with its base")


def _convert(sources: list[Path], write: Callable[[Path], None], what: str) -> Path:
    """Return the folder of a conversion in the cache, written unless it is there."""
    target = cache_folder(None) / "models" / cache_key(*(hash_path(str(path)) for path in sources))
    if not target.is_dir():
        remove_unfinished(target.parent)
        with whole_folder(target) as unfinished:
            write(unfinished)
        logger.info("%s, is kept in %s", what, target)
    return target


def _merge(folder: Path, base: Path, is_classifier: bool) -> PreTrainedModel:
    """Return the base model with the adapter's changes in its own weights."""
    from peft import PeftModel

    config, head = read_config(base), _head_of_adapter(folder)
    auto = AutoModelForSequenceClassification if is_classifier else AutoModelForCausalLM
    if is_classifier and head is not None:
        config.num_labels = head
    model, missing = load_model(base, auto, torch.float32, config)
    if is_classifier and head is not None:
        missing -= {f"{head_name(model)}.weight"}
    if missing:
        raise UserError(
            f"the adapter in {folder} has no {min(missing)} and its base {base} has none either: "
            "train it again with modules_to_save=['score']"
        )
    with quiet(), reported(Exception, f"cannot merge the adapter in {folder} with {base}: "):
        merged: PreTrainedModel = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    return merged


def _head_of_adapter(folder: Path) -> int | None:
    """Return the number of outputs of the head that an adapter brings, None if it has none."""
    with (
        reported(Exception, f"cannot read {folder / ADAPTER_WEIGHTS}: "),
        safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file,
    ):
        for name in file.keys():  # noqa: SIM118
            if name.endswith(("score.weight", "classifier.weight")):
                return int(file.get_slice(name).get_shape()[0])
    return None


def _copy_tokenizer(source: Path, target: Path) -> None:
    for pattern in (*TOKENIZER_FILES, *MORE_TOKENIZER_FILES):
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copy(path, target)
