"""Where a model is: a local directory or a hub id, and a fingerprint of its weights."""

import hashlib
from pathlib import Path

from rewardgap.errors import UserError, first_line
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
    files = [folder] if folder.suffix == ".gguf" else sorted(folder.glob("*.gguf"))
    if len(files) == 1 and files[0].is_file() and not any(folder.glob("*.safetensors")):
        from rewardgap.models.conversion import dequantise

        return dequantise(files[0])
    folder = Run(folder).reward_model if Run(folder).reward_model.is_dir() else folder
    if not folder.is_dir():
        if name.count("/") > 1 or name.startswith((".", "/", "~")):
            raise UserError(f"{name} does not exist; give a model directory or a hub id")
        from huggingface_hub import snapshot_download

        patterns = PATTERNS if weights else PATTERNS[1:]
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns))
        except Exception as error:
            raise UserError(
                f"{name} is neither a directory nor a model that the hub gives: {first_line(error)}"
            ) from error
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


def fingerprint(folder: Path) -> str:
    """Return 16 hexadecimal digits of the names and contents of configuration and weights."""
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
