"""Where a model is: a local directory or a hub id, and a fingerprint of its weights."""

import hashlib
from pathlib import Path

from rewardgap.configs.flags import similar
from rewardgap.errors import UserError, first_line, reported
from rewardgap.io.hub import hub_fault
from rewardgap.io.run_folder import Run

ADAPTER = "adapter_config.json"
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def locate_model(name: str, weights: bool = True) -> Path:
    """Return the folder of a model directory, a run or a hub id; a hub model is downloaded first.

    Only safetensors weights and text files are downloaded, no pickles and no code. Without
    `weights`, only configuration and tokenizer are downloaded and required. An adapter is merged
    with its base, and a GGUF file (named itself, or alone in a directory) is dequantised.

    Raises:
        UserError: There is no such directory, config.json, safetensors weights, or hub id.
    """
    folder = Path(name).expanduser()
    with reported(OSError, f"{name:.60}: "):  # a name may be too long for a path
        files = [folder] if folder.suffix == ".gguf" else sorted(folder.glob("*.gguf"))
        folder = Run(folder).reward_model if Run(folder).reward_model.is_dir() else folder
    if len(files) == 1 and files[0].is_file() and not any(folder.glob("*.safetensors")):
        from rewardgap.models.conversion import dequantise

        return dequantise(files[0])
    if not folder.is_dir():
        folder = download_model(name, weights)
    if (folder / ADAPTER).exists():
        from rewardgap.models.conversion import merge_adapter

        return merge_adapter(folder, locate_model)
    if not (folder / "config.json").exists():
        raise UserError(f"{name} has no config.json: it is not a model directory")
    if weights and not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{name} has no safetensors weights; save the model with "
            "save_pretrained(…, safe_serialization=True)"
        )
    return folder


def refuse_absent_model(name: str) -> None:
    """Refuse a path that does not exist and that cannot be a hub id.

    A name of two parts is a path if the first is a folder here, unless the hub's cache has it.
    """
    is_path = name.count("/") > 1 or name.startswith((".", "/", "~"))
    with reported(OSError, f"{name:.60}: "):  # a name may be too long for a path
        path = Path(name).expanduser()
        if is_path and not (path.is_dir() or (path.suffix == ".gguf" and path.is_file())):
            raise UserError(f"{name} does not exist; give a model directory or a hub id")
        if name.count("/") == 1 and path.parent.is_dir() and not path.exists():
            _refuse_misspelt(name, path)


def _refuse_misspelt(name: str, path: Path) -> None:
    """Refuse a folder that is not there, and name those beside it that may be meant."""
    from huggingface_hub import constants

    if not (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        folders = sorted(entry.name for entry in path.parent.iterdir() if entry.is_dir())
        likely = [str(path.parent / folder) for folder in similar(path.name, folders)]
        hint = f"did you mean {' or '.join(likely)}?" if likely else "give a model directory"
        raise UserError(f"there is no folder {name}; {hint}")


def download_model(name: str, weights: bool = True) -> Path:
    """Return the folder of a hub id in the hub's cache, downloaded where the hub can be reached.

    Raises:
        UserError: It is no hub id, or the hub does not give it.
    """
    refuse_absent_model(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fault, patterns = hub_fault(), PATTERNS if weights else PATTERNS[1:]
    try:
        return Path(
            snapshot_download(name, allow_patterns=patterns, local_files_only=fault is not None)
        )
    except Exception as error:
        cause = first_line(error)
        if fault and isinstance(error, LocalEntryNotFoundError):
            cause = f"the hub cannot be reached ({fault}), and its cache here does not hold it"
        message = f"{name} is neither a directory nor a model that the hub gives: {cause}"
        raise UserError(message) from error


def fingerprint(folder: Path) -> str:
    """Return 16 hexadecimal digits of the names and contents of configuration and weights."""
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
