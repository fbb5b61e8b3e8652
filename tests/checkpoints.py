"""Tiny checkpoints of explicit reward models, and the report of `check model` on a checkpoint."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tiny import TEMPLATE, tiny_model, tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from rewardgap.checks.examples import EXAMPLE_RECORDS
from rewardgap.checks.findings import CheckReport
from rewardgap.checks.model import check_model
from rewardgap.checks.numerics import NOISE, _with_noise
from rewardgap.configs.checks import CheckModelConfig

Make = Callable[[Path], Path]
NEWLINE = TEMPLATE.replace("'<|end|>' }}", "'<|end|>\n' }}")
"""A template of the form of ChatML: a line break after every end of turn."""


def report_on(folder: Path | str, **keys: Any) -> CheckReport:
    return check_model(CheckModelConfig(model=str(folder), **keys))


def classifier(
    folder: Path,
    architecture: str = "llama",
    pad: str | None = "<|pad|>",
    template: str | None = TEMPLATE,
) -> Path:
    """A tiny reward model whose head prefers answers to the same letters in random order."""
    made = _classifier(architecture, pad, template)
    return Path(copytree(made.name, folder, dirs_exist_ok=True))


@cache
def _classifier(
    architecture: str, pad: str | None, template: str | None
) -> TemporaryDirectory[str]:
    made = TemporaryDirectory()
    folder = Path(made.name)
    tiny_model(folder, architecture, pad, template)
    tokenizer = tiny_tokenizer(pad, template)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = None
    states = []
    model.score.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0, -1]))
    for record in EXAMPLE_RECORDS:
        for response in _with_noise(record).responses:
            messages = [{"role": m.role, "content": m.content} for m in (*record.prompt, *response)]
            text = (
                tokenizer.apply_chat_template(messages, tokenize=False)
                if template
                else messages[-1]["content"]
            )
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                model(input_ids=ids)
    sense, *noise = torch.stack(states).unflatten(0, (-1, 1 + len(NOISE))).unbind(1)
    # The direction of least squares on which sense is 1 above every noise.
    differences = torch.cat([sense - other for other in noise])
    head = torch.linalg.lstsq(differences, torch.ones(len(differences), 1), driver="gelsd").solution
    with torch.no_grad():
        model.score.weight.copy_(head.T)
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    return made


def written_in(template: str | None, pad: str | None = "<|pad|>") -> Callable[[Path], Path]:
    return lambda folder: classifier(folder, "llama", pad, template)
