"""Settings of the command robustness."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rewardgap.configs.compute import CachedComputeConfig, at_least
from rewardgap.configs.kind import RewardConfig
from rewardgap.configs.printing import OverwriteConfig, PrintConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig(RewardConfig, CachedComputeConfig, OverwriteConfig, PrintConfig):
    """Measure what other wording costs reward models: accuracy lost, verdicts that flip.

    Every model rates the data as they are and in the words of every shift (`rewardgap shift list`).
    """

    model: list[str]
    """runs' folders, saved reward models, hub ids, or ensembles: mean(A,B), worst(A,B) or
    mean-std(A,B)"""
    data: str
    """labelled data: a file, a saved data set, a hub id, or source:part"""
    out: str
    """folder for the page, the model card's section, the figures and all score files; those that
    are there are not computed again"""
    shifts: list[str] = field(default_factory=list)
    """shifts, with spaces or commas between; by default all that keep the meaning or the ranking"""
    rate: float | None = None
    """share of the places that are changed, from 0 to 1; by default what each shift takes"""
    seed: int = 0
    """which places are drawn; also of resamples"""
    kind: str | None = None
    """kind of models trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of implicit models trained elsewhere"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "seed")
        object.__setattr__(self, "shifts", _parted(self.shifts))
        if not self.model:
            raise UserError("name at least one model")
        for key in ("model", "shifts"):
            names: list[str] = getattr(self, key)
            for name in names:
                if names.count(name) > 1:
                    raise UserError(f"{key} names {name} twice: name it once")

    def settings(self) -> dict[str, Any]:
        """Return what config.yaml in the folder holds."""
        said = {key.name for form in (OverwriteConfig, PrintConfig) for key in fields(form)}
        return {key: value for key, value in asdict(self).items() if key not in said}


def _parted(names: Sequence[str]) -> list[str]:
    """Return names that may have commas between them."""
    return [part for name in names for part in name.replace(",", " ").split()]
