"""Settings of the commands score, rank and metrics."""

from dataclasses import dataclass
from typing import Literal

from rewardgap.configs.compute import CachedComputeConfig, at_least
from rewardgap.configs.kind import RewardConfig
from rewardgap.configs.printing import OverwriteConfig, PrintConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RatingConfig(RewardConfig, CachedComputeConfig, OverwriteConfig):
    """What gives rewards to which responses."""

    model: str
    """a run's folder, a saved reward model, a hub id, or an ensemble: mean(A,B), worst(A,B) or
    mean-std(A,B)"""
    data: str
    """data to score: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the file to write"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model trained elsewhere"""
    standardise: bool = False
    """subtract the mean that is saved with the model and divide by the deviation; members of an
    ensemble each by their own"""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(RatingConfig, PrintConfig):
    """Write the rewards of a run, or of a model trained elsewhere, for a data set."""

    train: str | None = None
    """training data of the bag-of-words baseline; by default those of the run"""
    save_scale: bool = False
    """save mean and deviation of these rewards with the model, for --standardise"""
    executor: Literal["local", "ray"] = "local"
    """where the rewards are computed: here, or by workers on all machines of a Ray cluster"""
    address: str | None = None
    """HOST:PORT of the head of a Ray cluster; by default $RAY_ADDRESS, the cluster that this
    machine belongs to or, without one, Ray on this machine alone"""
    cpus_per_worker: int | None = None
    """processors of a worker on Ray; by default 1"""
    gpus_per_worker: float | None = None
    """GPUs of a worker on Ray; by default 1 where the cluster has GPUs, else none; with a fraction,
    several workers share a GPU"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "cpus_per_worker")
        at_least(self, 0, "gpus_per_worker")
        if self.save_scale and self.standardise:
            raise UserError("save_scale is of raw rewards: leave out standardise")


@dataclass(frozen=True, kw_only=True)
class RankConfig(RatingConfig):
    """Write the responses to every prompt in the order of their reward, the best one first."""

    top: int | None = None
    """write only this many of the best responses; 1 is best-of-n"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "top")


@dataclass(frozen=True, kw_only=True)
class MetricsConfig(PrintConfig):
    """Compute metrics of score files, and paired tests between files of the same records."""

    scores: list[str]
    """score files, or folders of runs for all of theirs, or ensembles of these such as mean(A,B)"""
    styles: bool = False
    """also compute easy, normal and hard accuracies of records in several styles (RM-Bench)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scores:
            raise UserError("name at least one score file")
