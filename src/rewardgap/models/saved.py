"""Saved reward models: what a folder holds beside the weights, and how any model is opened."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError, first_line
from rewardgap.io.files import whole_folder, write_text
from rewardgap.io.run_folder import Run
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel

logger = logging.getLogger(__name__)

CARD = "rewardgap.json"


@dataclass(frozen=True)
class SavedRewardModel:
    """What a saved reward model needs to be read as one.

    Attributes:
        kind: name of its kind.
        options: the kind's settings.
        initial_model: where its initial language model lay, the reference of an implicit model.
        initial_fingerprint: fingerprint of that model's weights.
        max_length: tokens that sequences were truncated to in training; None if they were not.
    """

    kind: str
    options: KindConfig
    initial_model: str | None = None
    initial_fingerprint: str | None = None
    max_length: int | None = None

    def to_json(self, template: ChatTemplate) -> str:
        """The card as a JSON text, with the chat template that the rewards hold for."""
        return json.dumps(
            {
                "kind": self.kind,
                "beta": self.options.beta,
                "likelihood_weight": self.options.likelihood_weight,
                "verification_prompt": self.options.verification_prompt,
                "max_length": self.max_length,
                "reference": {"model": self.initial_model, "fingerprint": self.initial_fingerprint},
                "chat_template": template.tokenizer.chat_template,
            },
            indent=2,
            ensure_ascii=False,
        )

    @classmethod
    def read(cls, path: Path) -> "SavedRewardModel":
        """The card of a saved model.

        Raises:
            UserError: it is no card.
        """
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            options = KindConfig(
                beta=fields["beta"],
                likelihood_weight=fields["likelihood_weight"],
                verification_prompt=fields["verification_prompt"],
            )
            reference = fields["reference"]
            return cls(
                kind=fields["kind"],
                options=options,
                initial_model=reference["model"],
                initial_fingerprint=reference["fingerprint"],
                max_length=fields["max_length"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged: {first_line(error)}") from error


def save_reward_model(model: RewardModel, card: SavedRewardModel, folder: Path) -> None:
    """Write a reward model as a whole folder: weights, tokenizer, chat template and card."""
    with whole_folder(folder) as unfinished:
        model.save(unfinished)
        write_text(unfinished / CARD, card.to_json(model.template))


def find_saved(model: str) -> Path:
    """The folder of a saved model: of a run, of a model directory or of a hub id.

    Raises:
        UserError: there is none.
    """
    run = Run(Path(model))
    if run.reward_model.is_dir():
        return run.reward_model
    if run.config.exists():
        raise UserError(f"{model} holds an unfinished run; continue it with --resume")
    if (Path(model) / CARD).exists():
        return Path(model)
    return locate_model(model)


def read_card(folder: Path, kind: str | None, options: KindConfig) -> SavedRewardModel:
    """The card beside a model, or one for a model trained elsewhere; given options win.

    Raises:
        UserError: the kind cannot be told, or contradicts the card.
    """
    if not (folder / CARD).exists():
        return SavedRewardModel(kind or _kind_of_architecture(folder), options)
    card = SavedRewardModel.read(folder / CARD)
    if kind not in (None, card.kind):
        raise UserError(f"{folder} holds a model of kind {card.kind}, not {kind}; leave out --kind")
    merged = KindConfig(
        beta=card.options.beta if options.beta is None else options.beta,
        likelihood_weight=options.likelihood_weight or card.options.likelihood_weight,
        verification_prompt=options.verification_prompt or card.options.verification_prompt,
    )
    return replace(card, options=merged)


def check_initial_model(card: SavedRewardModel) -> Path:
    """The folder of a card's initial model, if it is still there and still the same.

    Raises:
        UserError: it is gone or has changed.
    """
    if card.initial_model is None:
        raise UserError(
            f"a model of kind {card.kind} is scored against its initial language model: "
            "name it with --reference"
        )
    try:
        folder = locate_model(card.initial_model)
    except UserError as error:
        message = f"name the reference of this reward model with --reference: {error}"
        raise UserError(message) from error
    if card.initial_fingerprint not in (None, fingerprint(folder)):
        raise UserError(
            f"{card.initial_model} is no longer the model that this reward model was trained from; "
            "name the right one with --reference"
        )
    return folder


def load_reward_model(folder: Path, card: SavedRewardModel, dtype: torch.dtype) -> RewardModel:
    """Open the model that a card describes."""
    template = ChatTemplate.load(folder)
    if template.added_tokens:
        logger.warning(
            "%s has no chat template: responses are written in the paper's format, which the model "
            "may never have seen; add the template that it was trained with",
            folder,
        )
    return find_kind(card.kind).load(folder, template, card.options, dtype)


def _kind_of_architecture(folder: Path) -> str:
    """The first kind that is saved as this architecture, if no other choice changes the reward."""
    try:
        names = AutoConfig.from_pretrained(folder).architectures or []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load a model from {folder}: {first_line(error)}") from error
    fitting = [name for name in KINDS if find_kind(name).recognises(names)]
    if not fitting:
        raise UserError(
            f"{folder} could be a reward model of several kinds; name one with --kind: "
            f"{', '.join(KINDS)}"
        )
    return fitting[0]
