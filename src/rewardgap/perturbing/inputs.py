"""What the scores of a model were made from, as hashes: the model, its reference, the data."""

import json
from collections.abc import Sequence
from pathlib import Path

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.robustness import RobustnessConfig
from rewardgap.data.records import Record, prompt_key, responses_id
from rewardgap.errors import UserError
from rewardgap.evaluation.ensembles import parse_ensemble
from rewardgap.io.cache import cache_folder, cache_key
from rewardgap.io.files import CHECKSUMS, read_json, write_text
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.kinds import find_kind
from rewardgap.models.saved import FILE, SavedRewardModel, find_saved
from rewardgap.training.inputs import Inputs, changes, hash_model, hash_template, read_inputs

REMEDY = "restore it, choose another out, or pass `overwrite: true`"


def scoring_inputs(config: RobustnessConfig, model: str, records: Sequence[Record]) -> Inputs:
    """Return hashes of all that decides the scores of a model or an ensemble, by use and name.

    Raises:
        UserError: The model or its reference cannot be found.
    """
    hashes = cache_folder(config.cache) / "hashes"
    texts = [(record.id, prompt_key(record), responses_id(record)) for record in records]
    dtype = choose_dtype(config.dtype, choose_device(config.device))
    inputs = {
        "data": {config.data: cache_key(texts)},
        "chat template": hash_template(config.template, hashes),
        "precision": {"dtype": str(dtype)},
    }
    ensemble = parse_ensemble(model)
    for name in (model,) if ensemble is None else ensemble.members:
        inputs |= _model_inputs(config, name, hashes)
    return inputs


def _model_inputs(config: RobustnessConfig, name: str, hashes: Path) -> dict[str, dict[str, str]]:
    """Return hashes of the files of one model, and of its reference if its kind needs one."""
    folder = find_saved(name)
    files = hash_model(folder, hashes)
    if FILE in files:  # the scale of rewards, which may be saved later, changes none of them
        files[FILE] = cache_key({**read_json(folder / FILE), "scale": None})
    files.pop(CHECKSUMS, None)
    inputs = {f"model {name}": files}
    saved = SavedRewardModel.find(folder, config.kind, KindConfig.of(config))
    if find_kind(saved.kind).needs_reference:
        reference = config.reference or saved.initial_model
        named = SavedRewardModel(saved.kind, saved.options, reference).find_initial_model()
        inputs[f"reference {reference}"] = hash_model(named, hashes)
    return inputs


def check_scoring_inputs(folder: Path, now: Inputs) -> None:
    """Write what score files are made from into their folder or, if it has some, compare.

    Raises:
        UserError: Something has changed, or nobody says what the score files were made from.
    """
    path = folder / "inputs.json"
    if not any(folder.glob("*.jsonl")):
        write_text(path, json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        return
    if not path.exists():
        raise UserError(f"{folder} has scores without inputs.json, which says of what; {REMEDY}")
    changed = list(changes(read_inputs(path, REMEDY), now))
    if changed:
        raise UserError(f"changed since {folder} was scored: {', '.join(changed)}; {REMEDY}")
