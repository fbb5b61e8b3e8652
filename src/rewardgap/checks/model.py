"""`rewardgap check model`: whatever makes a reward model's rewards wrong, here or in other tools.

A new check of models is a function of `Checkpoint` and an entry in `MODEL_CHECKS`; a program
outside the package calls `register_model_check`.
"""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from rewardgap.checks.checkpoints import Checkpoint, find_kind_of, load_plain
from rewardgap.checks.data_sets import CheckedSet
from rewardgap.checks.examples import EXAMPLE_RECORDS
from rewardgap.checks.findings import Check, CheckFinding, CheckReport, register
from rewardgap.checks.heads import find_adapter, find_constant, find_head, find_labels
from rewardgap.checks.numerics import find_batches, find_coarse, find_own_reading, find_sign
from rewardgap.checks.pooling import find_pad, find_reward_token
from rewardgap.checks.references import find_reference
from rewardgap.checks.templates import (
    find_border,
    find_double_bos,
    find_refused_records,
    find_template_faults,
    find_vocabulary,
)
from rewardgap.configs.checks import CheckModelConfig
from rewardgap.data.chat_template import load_tokenizer
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.records import Record
from rewardgap.data.templates import find_template
from rewardgap.errors import UserError, first_line
from rewardgap.evaluation.text import counted
from rewardgap.io.progress import progress
from rewardgap.models.hub import ADAPTER, locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import RewardModel
from rewardgap.models.saved import FILE, saved_folder

logger = logging.getLogger(__name__)

MODEL_CHECKS: list[Check] = [
    Check("template refuses", find_refused_records),
    Check("unknown tokens", find_vocabulary),
    Check("missing head", find_head),
    Check("several labels", find_labels),
    Check("constant rewards", find_constant),
    Check("reward token", find_reward_token),
    Check("pad", find_pad),
    Check("no chat template", find_template_faults),
    Check("double BOS", find_double_bos),
    Check("prompt no prefix", find_border),
    Check("batches", find_batches),
    Check("bfloat16", find_coarse),
    Check("sign", find_sign),
    Check("scoring", find_own_reading),
    Check("reference", find_reference),
]
FATAL = ("unknown tokens", "not finite")
"""Checks after whose findings nothing else can be computed."""


def register_model_check(check: Check) -> None:
    """Add a check of models, whose `find` is called with a `Checkpoint`.

    Raises:
        UserError: There is a check of this name.
    """
    register(check, MODEL_CHECKS)


@by_keywords(CheckModelConfig)
def check_model(config: CheckModelConfig) -> CheckReport:
    """Check a reward model, with the costs of what is found on the rows of `data`.

    A checkpoint that cannot be loaded is a finding.

    Raises:
        UserError: There is no such model, kind or data.
    """
    if config.kind is not None:
        find_kind(config.kind)
    records = _records(config)
    rows = counted(len(records), "record")
    source = f"the first of {config.data}" if config.data else "of our own"
    logger.info("loading %s", config.model)
    findings = list(_findings(config, _folder(config.model), records))
    return CheckReport.of(f"{config.model} on {rows}, {source}", findings)


def _records(config: CheckModelConfig) -> tuple[Record, ...]:
    if config.data is None:
        return EXAMPLE_RECORDS
    records = tuple(islice(CheckedSet("data", (config.data,)).records(), config.records))
    if not records:
        raise UserError(f"{config.data} holds no record of two responses")
    return records


def _folder(name: str) -> Path:
    """Return the folder of a model, whatever is in it; one of the hub is downloaded."""
    folder = saved_folder(name)
    if (folder / ADAPTER).exists() and (folder / FILE).exists():
        return locate_model(str(folder))  # merged, for the base is known
    return folder if folder.is_dir() else locate_model(name)


def _findings(
    config: CheckModelConfig, folder: Path, records: tuple[Record, ...]
) -> Iterator[CheckFinding]:
    if (folder / ADAPTER).exists():
        yield from find_adapter(folder)
    if (folder / ADAPTER).exists() and not (folder / "config.json").exists():
        return
    try:
        checkpoint = _open(config, folder, records)
    except UserError as error:
        yield _not_loaded(str(error))
        return
    except Exception as error:  # damaged files raise whatever the libraries that read them raise
        yield _not_loaded(f"plain transformers: {type(error).__name__}: {first_line(error)}")
        return
    lengths = [len(response.tokens) for response in checkpoint.written]
    logger.info(
        "%d checks on %s of up to %s tokens, on %s",
        *(len(MODEL_CHECKS), counted(len(lengths), "response")),
        *(f"{max(lengths, default=0):,}", checkpoint.model.device),
    )
    for check in progress(MODEL_CHECKS, "checking the model", unit="checks"):
        findings = _of_check(check, checkpoint)
        yield from findings
        if any(finding.check in FATAL for finding in findings) or not checkpoint.records:
            return


def _not_loaded(reason: str) -> CheckFinding:
    remedy = "save it again with save_pretrained, tokenizer and safetensors weights included"
    return CheckFinding("error", "loading", f"it cannot be loaded: {reason}", "no rewards", remedy)


def _of_check(check: Check, checkpoint: Checkpoint) -> list[CheckFinding]:
    try:
        return list(check.find(checkpoint))
    except Exception as error:  # models fail in ways of their own
        return [
            CheckFinding(
                "error",
                check.name,
                f"cannot be computed: {type(error).__name__}: {first_line(error)}",
                "other tools fail on the same rows",
                "see what else is said of it",
            )
        ]


def _open(config: CheckModelConfig, folder: Path, records: tuple[Record, ...]) -> Checkpoint:
    """Load everything, as plain transformers does."""
    locate_model(str(folder))
    tokenizer = load_tokenizer(folder)
    if config.template or isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = find_template(config.template, tokenizer.chat_template).text
    kind = find_kind_of(folder, config.kind)
    torch.manual_seed(0)
    model, missing = load_plain(folder, _is_classifier(kind))
    return Checkpoint(folder, config, kind, tokenizer, model, tuple(sorted(missing)), records)


def _is_classifier(kind: type[RewardModel] | None) -> bool:
    """Return whether a kind is saved as a classification model."""
    return getattr(kind, "auto_class", None) is AutoModelForSequenceClassification
