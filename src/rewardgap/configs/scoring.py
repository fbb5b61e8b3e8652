"""Settings of the commands score and metrics."""

from dataclasses import dataclass

from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.configs.kind import RewardConfig
from rewardgap.configs.printing import OverwriteConfig, PrintConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(RewardConfig, CachedComputeConfig, OverwriteConfig, PrintConfig):
    """Write the rewards of a run, or of a model trained elsewhere, for a data set."""

    model: str
    """a run's folder, a saved reward model, or a hub id"""
    data: str
    """data to score: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the score file to write"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model trained elsewhere"""
    train: str | None = None
    """training data of the bag-of-words baseline; by default those of the run"""


@dataclass(frozen=True, kw_only=True)
class MetricsConfig(PrintConfig):
    """Compute metrics of score files, and paired tests between files of the same records."""

    scores: list[str]
    """score files, or folders of runs for all of theirs"""
    styles: bool = False
    """also compute easy, normal and hard accuracies of records in several styles (RM-Bench)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scores:
            raise UserError("name at least one score file")
