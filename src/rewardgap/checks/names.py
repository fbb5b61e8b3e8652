"""Whether there is what a command names: told at once, before PyTorch is imported."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rewardgap.data.load import refuse_wrong
from rewardgap.evaluation.ensembles import parse_ensemble
from rewardgap.io.files import refuse_existing
from rewardgap.models.hub import refuse_absent_model
from rewardgap.models.kinds import refuse_unknown_kind


def _refuse_absent_members(name: str) -> None:
    """Refuse a model that is not there, or an ensemble with such a member."""
    ensemble = parse_ensemble(name)
    for member in ensemble.members if ensemble else (name,):
        refuse_absent_model(member)


CHECKS: Mapping[str, Callable[[str], None]] = {
    "kind": refuse_unknown_kind,
    "kinds": refuse_unknown_kind,
    "model": _refuse_absent_members,
    "models": refuse_absent_model,
    "reference": refuse_absent_model,
    "train": refuse_wrong,
    "data": refuse_wrong,
    "counterpart_data": refuse_wrong,
    "eval": refuse_wrong,
}
"""By key, what refuses a wrong value; values may be lists, or mappings from names."""


def refuse_wrong_names(config: Any) -> None:
    """Refuse a configuration that names a file, a folder or a kind that is not there.

    A file that would be replaced unasked is refused too.

    Whatever may be on the hub is not asked for.

    Raises:
        UserError: Says what is not there.
    """
    if getattr(config, "overwrite", None) is False and not Path(config.out).is_dir():
        refuse_existing(Path(config.out), overwrite=False)
    for key, refuse in CHECKS.items():
        for name in _listed(getattr(config, key, None)):
            refuse(name)


def _listed(value: Any) -> list[Any]:
    """Return the values of a mapping, the items of a list, or a value as the only one."""
    if isinstance(value, Mapping):
        return [*value.values()]
    return value if isinstance(value, list) else [value] * (value is not None)
