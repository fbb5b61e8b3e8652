"""Pushing a trained reward model to the Hugging Face hub: weights, tokenizer and model card."""

import logging
from dataclasses import dataclass
from pathlib import Path

from rewardgap.configs.serving import PushConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError, first_line
from rewardgap.io.files import refuse_damaged
from rewardgap.models.saved import FILE, SavedRewardModel, saved_folder

logger = logging.getLogger(__name__)

CARD = "README.md"


@dataclass(frozen=True)
class Upload:
    """What is uploaded: the sizes of files in bytes by name, and the address, None in a dry run."""

    files: dict[str, int]
    address: str | None


@by_keywords(PushConfig)
def push(config: PushConfig) -> Upload:
    """Upload a run's model, which must have its card, as one commit; a repository may be new.

    Raises:
        UserError: There is no such model, or it is damaged, or the hub refuses it.
    """
    folder = saved_folder(config.run)
    if not (folder / FILE).exists():
        raise UserError(f"{config.run} holds no run and no saved reward model")
    refuse_damaged(folder, remedy="restore it, or train again")
    if not (folder / CARD).exists():
        raise UserError(f"{folder} has no model card ({CARD}): finish its run with --resume")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    _warn_of_private_path(folder)
    return Upload(files, None if config.dry_run else _upload(folder, config))


def _warn_of_private_path(folder: Path) -> None:
    """Say that a path of this machine will be public, and what others must name instead."""
    initial = SavedRewardModel.read(folder / FILE).initial_model
    if initial is not None and Path(initial).is_absolute():
        logger.warning(
            "%s says that the initial model is %s, a path of this machine: others name theirs with "
            "--reference to score an implicit model or an adapter",
            *(FILE, initial),
        )


def _upload(folder: Path, config: PushConfig) -> str:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise UserError("the hub asks for a token: set HF_TOKEN, or log in with hf auth login")
    api = HfApi()
    try:
        repository = api.create_repo(config.repo, private=config.private or None, exist_ok=True)
        logger.info("uploading %s", folder)
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=folder,
            commit_message="Upload a reward model of rewardgap",
        )
    except (OSError, ValueError) as error:  # of the client: HTTP, offline, a wrong name
        raise UserError(f"cannot push to {config.repo}: {first_line(error)}") from error
    return str(repository)
