"""What commands on whole experiments can be told."""

from dataclasses import dataclass, field
from typing import Any

from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Do an experiment: train every kind on every model with every seed.

    Every key of `rewardgap train` that is no key here is one too, for all runs: --epochs 3.
    """

    experiment: str
    """YAML file of the experiment"""
    out: str
    """folder of experiment.yaml and of a run folder for each model, kind and seed"""
    name: str | None = None
    """name, instead of the experiment's; with other training data by default named after them"""
    claim: str | None = None
    """what it shows, instead of the experiment's claim"""
    profile: str | None = None
    """one of the experiment's profiles, such as small"""
    data_dir: str | None = None
    """folder of prepared local files, used instead of the hub where they exist"""
    models: list[str] | None = None
    """initial language models, instead of the experiment's"""
    kinds: list[str] | None = None
    """kinds of reward model, instead of the experiment's"""
    seeds: list[int] | None = None
    """seeds, instead of the experiment's"""
    train: str | list[str] | None = None
    """training data, instead of the experiment's"""
    train_name: str | None = None
    """name of the training data, by default that of their file or source"""
    eval: dict[str, Any] = field(default_factory=dict)
    """other data for an evaluation set as --eval.NAME DATA, or any key as --eval.NAME.KEY VALUE,
    which with a category also adds a set"""
    train_rows: int | None = None
    """only the first rows of each file or source of training data"""
    eval_rows: int | None = None
    """only the first rows of each evaluation set"""
    variations: list[dict[str, Any]] | None = None
    """settings to vary, instead of the experiment's; [] varies none"""
    generate: list[str] | None = None
    """sets whose prompts implicit models answer, instead of the experiment's"""
    forecast: bool | None = None
    """forecast the accuracies before training, or do not, instead of what the experiment says"""
    settings: dict[str, Any] = field(default_factory=dict)
    """keys of `rewardgap train` for all runs"""
    dry_run: bool = False
    """say what would be done, with an estimate of tokens and memory, and do nothing"""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Put the runs of experiments, or any runs, into tables, figures and one page."""

    folders: list[str]
    """folders of grids, of runs, or of folders of these"""
    out: str
    """folder of index.html, tables, figures, report.json and RewardBench's result files"""

    def __post_init__(self) -> None:
        """Refuse an empty list."""
        if not self.folders:
            raise UserError("name at least one folder of runs")
