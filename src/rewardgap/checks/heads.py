"""Where the reward comes from: heads that are missing, have two outputs, or say nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from rewardgap.checks.checkpoints import Checkpoint, load_plain, ranked_right, reordered
from rewardgap.checks.findings import CheckFinding, Severity
from rewardgap.errors import UserError
from rewardgap.evaluation.text import join_names, share
from rewardgap.io.files import read_json
from rewardgap.models.heads import NAMES, StoredHead
from rewardgap.models.hub import ADAPTER


def find_head(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield weights that are not in the folder and were drawn at random."""
    if not checkpoint.missing:
        return
    stored = StoredHead.find(checkpoint.folder)
    there = f"; it has {stored.name}.weight, which transformers does not read" if stored else ""
    yield CheckFinding(
        "error",
        "missing head" if checkpoint.is_classifier else "missing weights",
        f"the folder has no weights {join_names(checkpoint.missing[:3])} of a "
        f"{type(checkpoint.model).__name__}{there}",
        _cost_of_chance(checkpoint),
        "score it with rewardgap, which reads that head"
        if stored
        else "save the whole model; with PEFT name the head in modules_to_save, and merge before "
        "saving",
    )


def _cost_of_chance(checkpoint: Checkpoint) -> str:
    """Return how two loads, which draw the missing weights anew, disagree."""
    torch.manual_seed(1)
    model, _ = load_plain(checkpoint.folder, checkpoint.is_classifier)
    changed = reordered(checkpoint.alone, checkpoint.rewards(checkpoint.written, model=model))
    pairs = share(changed, len(checkpoint.records), "pair")
    return f"they are drawn at random: two loads of the model order {pairs} differently"


def find_labels(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield a head with another number of outputs than one."""
    labels = checkpoint.model.config.num_labels
    if not checkpoint.is_classifier or labels == 1 or checkpoint.missing:
        return
    columns = [np.array(column) for column in zip(*_outputs(checkpoint), strict=True)]
    ranked = {f"output {number}": column for number, column in enumerate(columns[:4])}
    severity: Severity = "error" if checkpoint.settings.label is None else "note"
    yield CheckFinding(
        severity,
        "several labels",
        f"the head has {labels} outputs, and only a user knows which of them is the reward",
        ranked_right(ranked),
        "name it with --label; train with num_labels=1, or save the one row of the head that it is",
    )


@torch.no_grad()
def _outputs(checkpoint: Checkpoint) -> list[list[float]]:
    device = checkpoint.model.device
    return [
        checkpoint.model(input_ids=torch.tensor([response.tokens], device=device))
        .logits[0]
        .tolist()
        for response in checkpoint.written
    ]


def find_constant(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield rewards that are no numbers, or the same for all responses."""
    rewards, count = checkpoint.alone, len(checkpoint.written)
    odd = int(np.sum(~np.isfinite(rewards)))
    if odd:
        yield CheckFinding(
            "error",
            "not finite",
            "rewards are not finite numbers",
            f"{share(odd, count, 'reward')} are infinite or not a number",
            "look for weights that overflowed in training or in float16",
        )
    elif np.ptp(rewards) <= 1e-6 * np.abs(rewards).max():
        yield CheckFinding(
            "error",
            "constant rewards",
            f"all responses get the same reward, {rewards[0]:.4g}",
            "chosen and rejected response are tied in every pair",
            "look at the head: it was not saved, or never trained",
        )


def find_adapter(folder: Path) -> Iterator[CheckFinding]:
    """Yield what is wrong with a folder that holds a PEFT adapter instead of a model."""
    try:
        adapter = read_json(folder / ADAPTER)
        if not isinstance(adapter, dict):
            raise UserError(f"{ADAPTER} is no adapter's configuration")
        weights = folder / "adapter_model.safetensors"
        with safe_open(weights, "pt") as file:
            names = list(file.keys())
    except (UserError, OSError, SafetensorError) as error:
        yield CheckFinding("error", "loading", f"the adapter in {folder} cannot be read: {error}")
        return
    base = adapter.get("base_model_name_or_path")
    if any(part in NAMES for name in names for part in name.split(".")):
        yield CheckFinding(
            "note",
            "adapter",
            f"an adapter of {base}, with a head; nothing else was checked",
            remedy="merge it with its base model, and check the whole",
        )
        return
    is_classifier = adapter.get("task_type") == "SEQ_CLS"
    yield CheckFinding(
        "error" if is_classifier else "warning",
        "adapter without head",
        f"the adapter of {base} holds no head of a reward model "
        f"({len(names)} weights, none of {join_names(NAMES)})",
        "whoever merges it gets a head that is drawn at random, and random rewards",
        "train again with modules_to_save=['score'] and task_type SEQ_CLS, or add the head of the "
        "model that was trained",
    )
