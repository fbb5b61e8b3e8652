"""What commands that measure trained models can be told."""

from dataclasses import dataclass

from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.configs.kind import RewardConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(RewardConfig, CachedComputeConfig):
    """Write the rewards that a run, or a model trained elsewhere, gives to a data set."""

    model: str
    """a run's folder, a saved reward model, or a hub id"""
    data: str
    """what to score: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the score file to write"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model trained elsewhere"""
    train: str | None = None
    """training data for the bag-of-words baseline; a run knows its own"""


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Measure score files, and compare those of the same records pair by pair."""

    scores: list[str]
    """score files"""
    styles: bool = False
    """also easy, normal and hard accuracies of records that are grids of styles (RM-Bench)"""
    json: bool = False
    """print JSON instead of a table"""

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if not self.scores:
            raise UserError("name at least one score file")
