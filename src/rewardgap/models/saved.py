"""Saved reward models: what a folder holds beside the weights, and how any model is opened."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewardgap.configs.adapters import Quantisation
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.templates import TEMPLATES
from rewardgap.errors import UserError, reported, require_package
from rewardgap.io.files import (
    read_json,
    refuse_damaged,
    update_checksum,
    whole_folder,
    write_checksums,
    write_text,
)
from rewardgap.io.run_folder import Run
from rewardgap.models.adapters import Adapter
from rewardgap.models.hub import ADAPTER, download_model, fingerprint, locate_model
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel, TrainedRewardModel
from rewardgap.models.loading import read_config
from rewardgap.models.quantisation import dequantise, quantise, require_bitsandbytes

logger = logging.getLogger(__name__)

FILE = "rewardgap.json"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation (divided by n) of a model's rewards for some responses.

    Attributes:
        mean: What is subtracted from a reward.
        deviation: What the rest is divided by; positive.
        responses: How many responses had these rewards.
        data: Where they were.
    """

    mean: float
    deviation: float
    responses: int
    data: str

    def __post_init__(self) -> None:
        """Refuse what no reward can be divided by."""
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf):
            raise UserError(
                f"rewards of mean {self.mean:.6g} and deviation {self.deviation:.6g} on "
                f"{self.data} give no scale"
            )

    @classmethod
    def of(cls, rewards: Sequence[Sequence[float]], data: str) -> "RewardScale":
        """Return the scale of the rewards of records.

        Raises:
            UserError: All are equal, or one is not finite.
        """
        values = np.array([reward for record in rewards for reward in record])
        return cls(float(values.mean()), float(values.std()), len(values), data)

    def standardise(self, rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return rewards in deviations from the mean."""
        return [[(reward - self.mean) / self.deviation for reward in record] for record in rewards]


@dataclass(frozen=True)
class SavedRewardModel:
    """A saved model and what it takes to read it as a reward model."""

    kind: str
    options: KindConfig
    initial_model: str | None = None
    """Where its initial language model was, the reference of an implicit model and the base of an
    adapter."""
    initial_fingerprint: str | None = None
    """Fingerprint of that model's weights."""
    max_length: int | None = None
    """Number of tokens that sequences were truncated to in training; None for all."""
    template: str | None = None
    """Name or file of the chat template that replaced the initial model's own in training."""
    scale: RewardScale | None = None
    """Mean and deviation of its rewards for training responses, or for those that a user gave."""
    quantise: Quantisation | None = None
    """In how many bits the blocks of its initial model were in training."""
    is_adapter: bool = False
    """Whether the folder holds an adapter of the initial model."""
    is_foreign: bool = False
    """Whether another tool saved it, so that it is read as plain transformers reads it."""

    @classmethod
    def find(cls, folder: Path, kind: str | None, options: KindConfig) -> "SavedRewardModel":
        """Read what a folder says of its model; of a model trained elsewhere, what the user says.

        The user may name the `kind`; `options` that the user gives win.

        Raises:
            UserError: The kind cannot be told, or contradicts the folder, or is code of another
                package that the user has not named.
        """
        if not (folder / FILE).exists():
            return cls(kind or _kind_of_architecture(folder), options, is_foreign=True)
        saved = cls.read(folder / FILE)
        if kind not in (None, saved.kind):
            raise UserError(
                f"{folder} holds a model of kind {saved.kind}, not {kind}; leave out --kind"
            )
        if kind is None and ":" in saved.kind:
            raise UserError(
                f"{folder} holds a model of kind {saved.kind}; to import its code, name it: "
                f"--kind {saved.kind}"
            )
        settings: dict[str, Any] = {key: value for key, value in asdict(options).items() if value}
        return replace(saved, options=replace(saved.options, **settings))

    @classmethod
    def read(cls, path: Path) -> "SavedRewardModel":
        """Read a saved model's `rewardgap.json`."""
        with reported((OSError, ValueError, RecursionError), f"{path} is damaged: "):
            card = _Card(path, json.loads(path.read_text(encoding="utf-8")))
        reference = _Card(path, card.value("reference", dict))
        max_length = card.value("max_length", int, optional=True)
        if max_length is not None and max_length < 1:
            raise UserError(f"{path} is damaged: max_length is {max_length}")
        settings = {
            "beta": card.value("beta", float, int, optional=True),
            "verification_prompt": card.value("verification_prompt", str, optional=True),
            "label": card.value("label", str, optional=True),
            "likelihood_weight": card.value("likelihood_weight", float, int),
            "margin_column": card.value("margin_column", str, optional=True),
            "label_smoothing": card.value("label_smoothing", float, int, optional=True),
        }
        with reported(UserError, f"{path} is damaged: "):
            options = KindConfig(**settings)
        return cls(
            kind=card.value("kind", str),
            options=options,
            initial_model=reference.value("model", str, optional=True),
            initial_fingerprint=reference.value("fingerprint", str, optional=True),
            max_length=max_length,
            template=card.value("template", str, optional=True),
            scale=_read_scale(path, card.value("scale", dict, optional=True)),
            quantise=card.value("quantise", str, optional=True),
            is_adapter=(path.parent / ADAPTER).exists(),
        )

    def with_initial_model(self, name: str) -> "SavedRewardModel":
        """Return what is saved with the initial model that a user names.

        A reference may be any model; the base of an adapter is the one that it was trained on.
        """
        weights = self.initial_fingerprint if self.is_adapter else None
        return replace(self, initial_model=name, initial_fingerprint=weights)

    def write(self, model: RewardModel, folder: Path) -> None:
        """Write a reward model as a whole folder: weights, tokenizer, template and settings."""
        with whole_folder(folder) as unfinished:
            self.write_into(unfinished, model)

    def write_into(self, folder: Path, model: RewardModel) -> None:
        """Write the same files into a folder that is there."""
        model.save(folder)
        fields = {
            "kind": self.kind,
            **asdict(self.options),
            "max_length": self.max_length,
            "reference": {"model": self.initial_model, "fingerprint": self.initial_fingerprint},
            "template": self.template,
            "chat_template": model.template.tokenizer.chat_template,
            "scale": self.scale and asdict(self.scale),
            "quantise": self.quantise,
        }
        write_text(folder / FILE, json.dumps(fields, indent=2, ensure_ascii=False))
        files = filter(Path.is_file, folder.rglob("*"))
        write_checksums(folder, {path: path for path in files})

    def merge(self, folder: Path) -> tuple["SavedRewardModel", RewardModel]:
        """Return the adapter in `folder` merged with its base, and what is saved with it then."""
        return replace(self, is_adapter=False), self.load(folder, merged=True)

    def load(
        self,
        folder: Path,
        template_name: str | None = None,
        device: torch.device = CPU,
        compute_dtype: torch.dtype = torch.float32,
        merged: bool = False,
    ) -> RewardModel:
        """Load the model in `folder`, with float32 weights, its chat template or another one.

        An adapter is put into its base or, if it is to be `merged`, written into its weights.
        `device` and `compute_dtype` are those of its blocks if these are in 4 bits.

        Raises:
            UserError: It cannot be read, a file differs from its checksum, or the base of an
                adapter is gone or has changed.
        """
        refuse_damaged(folder, remedy="restore it, or train again")
        kind = find_kind(self.kind)
        as_written = self.is_foreign and kind.reads_as_written
        template = ChatTemplate.load(folder, template_name, as_written)
        if template.added_tokens:
            form = template_name or "the paper's format, as there is no chat template"
            logger.warning(
                "%s has no tokens of the chat template (%s): the model may never have seen it; "
                "name the one that it was trained with as template",
                *(folder, form),
            )
        template.name = template.name or self.template
        if self.is_adapter:
            return self._load_on_base(folder, template, device, compute_dtype, merged)
        model = kind.load(folder, template, self.options, torch.float32)
        if self.is_foreign:
            model.read_as_transformers()
        return model

    def _load_on_base(
        self,
        folder: Path,
        template: ChatTemplate,
        device: torch.device,
        compute_dtype: torch.dtype,
        merged: bool,
    ) -> RewardModel:
        """Load the adapter in `folder` with the model that it belongs to."""
        what = f"{folder} holds an adapter"
        require_package("peft", "lora", what)
        if self.quantise is not None:
            require_bitsandbytes(f"{what} of a model in {self.quantise}", device)
        base = self.find_base(folder)
        model = find_kind(self.kind).initialise(base, template, self.options, torch.float32)
        assert isinstance(model, TrainedRewardModel)  # no other kind has an adapter
        language_model, name = model.language_model, self.template
        language_model.fit_tokenizer(ChatTemplate.load(base, name if name in TEMPLATES else None))
        if self.quantise is not None:
            quantise(model.model, device, compute_dtype)
            if merged:
                dequantise(model.model)
        adapter = Adapter.load(model.model, folder, str(base), self.quantise is not None)
        if merged:
            adapter.merge()
        else:
            language_model.adapter = adapter
        return model

    def find_base(self, folder: Path) -> Path:
        """Return the folder of an adapter's base; raise a UserError if it is gone or changed."""
        name = self.initial_model or "no model"
        remedy = "restore it, or say with --reference where it is"
        with reported(UserError, f"the base of the adapter in {folder}: ", f"; {remedy}"):
            base = locate_model(name)
        if self.initial_fingerprint != fingerprint(base):
            raise UserError(
                f"{name} is not the model that the adapter in {folder} was trained on: {remedy}"
            )
        return base

    def scale_of(self, folder: Path) -> RewardScale:
        """Return the scale that is saved with the model; raise a UserError if there is none."""
        if self.scale is None:
            raise UserError(
                f"{folder} has no scale of its rewards to standardise by: "
                "save one with rewardgap score --save-scale"
            )
        return self.scale

    def find_initial_model(self) -> Path:
        """Return the folder of the initial model; raise a UserError if it is gone or changed."""
        if self.initial_model is None:
            raise UserError(
                f"a model of kind {self.kind} is scored against its initial language model: "
                "name it with --reference"
            )
        try:
            folder = locate_model(self.initial_model)
        except UserError as error:
            message = f"name the reference of this reward model with --reference: {error}"
            raise UserError(message) from error
        if self.initial_fingerprint not in (None, fingerprint(folder)):
            raise UserError(
                f"{self.initial_model} is no longer the model that this reward model was trained "
                "from; name the right one with --reference"
            )
        return folder


@dataclass(frozen=True)
class _Card:
    """The fields of a `rewardgap.json`, each read by its type."""

    path: Path
    fields: Any

    def value(self, name: str, *types: type, optional: bool = False) -> Any:
        """Return a field; a UserError names one that is missing or of another type."""
        value = self.fields.get(name) if isinstance(self.fields, dict) else None
        if value is None and optional:
            return None
        if not isinstance(value, types) or isinstance(value, bool):
            raise UserError(
                f"{self.path} is damaged: {name} is {json.dumps(value)}; it should be "
                f"{' or '.join(kind.__name__ for kind in types)}"
            )
        return value


def _read_scale(path: Path, fields: Any) -> RewardScale | None:
    """Return the scale in a `rewardgap.json`, if there is one."""
    if fields is None:
        return None
    card = _Card(path, fields)
    mean, deviation = (float(card.value(name, float, int)) for name in ("mean", "deviation"))
    responses, data = card.value("responses", int), card.value("data", str)
    with reported(UserError, f"{path} is damaged: "):
        return RewardScale(mean, deviation, responses, data)


def save_scale(model: str, scale: RewardScale) -> None:
    """Write the scale of a model's rewards into its `rewardgap.json`, and nothing else.

    Raises:
        UserError: The model is not one that rewardgap has saved here.
    """
    path = saved_folder(model) / FILE
    if not path.exists():
        raise UserError(f"{model} holds no {FILE} to save a scale in: it is no model of rewardgap")
    fields = read_json(path) | {"scale": asdict(scale)}
    write_text(path, json.dumps(fields, indent=2, ensure_ascii=False))
    update_checksum(path.parent, path)


def find_saved(model: str) -> Path:
    """Return the folder of a saved model: of a run, of a model directory or of a hub id."""
    folder = saved_folder(model)
    if not folder.exists():
        folder = download_model(model)
    return folder if (folder / FILE).exists() else locate_model(model)


def saved_folder(name: str) -> Path:
    """Return the folder in which a run keeps its model; any other name as it is.

    Raises:
        UserError: The run is not finished.
    """
    run = Run(Path(name).expanduser())
    if run.reward_model.is_dir():
        return run.reward_model
    if run.config.exists():
        raise UserError(f"{name} holds an unfinished run; continue it with --resume")
    return run.folder


def _kind_of_architecture(folder: Path) -> str:
    """Return the first kind that is saved as this architecture, if that decides the reward."""
    names = read_config(folder).architectures or []
    for kind in KINDS:
        if find_kind(kind).recognises(names):
            return kind
    raise UserError(
        f"{folder} could be a reward model of several kinds; name one with --kind: "
        f"{', '.join(KINDS)}"
    )
