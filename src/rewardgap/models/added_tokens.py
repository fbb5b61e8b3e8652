"""The initial language models of a grid, with the tokens that its data add."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError, first_line
from rewardgap.io.files import remove_unfinished, whole_folder
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.language_model import fit_embeddings, load_model, quiet


def open_template(folder: Path, tokens: tuple[str, ...]) -> ChatTemplate:
    """The chat template of a model, with further tokens."""
    template = ChatTemplate.load(folder)
    template.tokenizer.add_tokens(list(tokens))
    return template


def extend_model(folder: Path, tokens: tuple[str, ...], extended: Path) -> None:
    """Save a language model with further tokens as another one, unless that was done before.

    The new embeddings are those of `backbone.fit_embeddings`, from a fixed seed. What is trained
    and what it is compared with then begin as the same model.
    """
    if extended.is_dir():
        return
    remove_unfinished(extended.parent)
    template = open_template(folder, tokens)
    model = load_model(folder, template)
    fit_embeddings(model, len(template.tokenizer))
    with whole_folder(extended) as unfinished:
        with quiet():
            model.save_pretrained(unfinished)
        template.tokenizer.save_pretrained(unfinished)


def weightless(kind: str, folder: Path, template: ChatTemplate, options: KindConfig) -> RewardModel:
    """A reward model as it will be trained, with shapes and no weights.

    Raises:
        UserError: the folder holds no language model that the kind can start from.
    """
    found = find_kind(kind)
    if not issubclass(found, TrainedRewardModel):
        return found.initialise(folder, template, options, torch.float32)
    try:
        with torch.device("meta"), quiet():
            config = AutoConfig.from_pretrained(folder)
            model = AutoModelForCausalLM.from_config(config)
            return found(found.adapt(model, seed=0), template, options)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder / 'config.json'}: {first_line(error)}") from error
