"""What is explained: a trained reward model, or one that a forecast is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewardgap.configs.forecasting import ExplainConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import fingerprint
from rewardgap.models.kinds import find_kind
from rewardgap.models.saved import SavedRewardModel, find_saved
from rewardgap.scoring.scorer import Scorer, open_reference, open_scorer


@dataclass(frozen=True)
class Subject:
    """A reward model and what is known of its training.

    Attributes:
        scorer: the model itself; for a forecast, the model before training.
        card: its kind and the model that training begins with.
        settings: the configuration of its run or of its forecast; empty for a model trained
            elsewhere.
    """

    scorer: Scorer
    card: SavedRewardModel
    settings: Mapping[str, Any]


def open_subject(config: ExplainConfig) -> Subject:
    """Open what `config.model` names.

    Raises:
        UserError: it cannot be read, or a forecast is of several kinds and none is named.
    """
    run = Run(Path(config.model))
    settings = run.read_config() if run.config.exists() else {}
    if (run.folder / "forecast.json").exists():
        return _forecast(config, settings)
    return _trained(config, settings)


def _trained(config: ExplainConfig, settings: Mapping[str, Any]) -> Subject:
    options = KindConfig.of(config)
    scorer = open_scorer(config.model, config.kind, config.reference, options, config)
    saved = SavedRewardModel.find(find_saved(config.model), config.kind, options)
    return Subject(scorer, saved, settings)


def _forecast(config: ExplainConfig, settings: Mapping[str, Any]) -> Subject:
    kinds = settings["kinds"]
    if config.kind not in kinds and (config.kind or len(kinds) > 1):
        raise UserError(
            f"{config.model} is a forecast of {', '.join(kinds)}: name one of them with --kind"
        )
    kind = config.kind or kinds[0]
    beta, question = settings["beta"], settings["verification_prompt"]
    options = KindConfig(beta=beta, verification_prompt=question)
    card = SavedRewardModel(kind, options, config.reference or settings["model"])
    folder = card.find_initial_model()
    card = SavedRewardModel(kind, options, str(folder), fingerprint(folder), settings["max_length"])
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    model = find_kind(kind).initialise(
        folder, ChatTemplate.load(folder), options, torch.float32, settings["seed"]
    )
    model.to(device).eval()
    scorer = Scorer(
        model=model,
        reference=open_reference(model, card, dtype, config),
        max_length=config.max_length or card.max_length,
        token_budget=config.token_budget,
        compute_dtype=dtype,
    )
    return Subject(scorer, card, settings)
