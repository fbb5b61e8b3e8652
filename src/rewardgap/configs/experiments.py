"""Settings of the commands run and report."""

from dataclasses import dataclass, field
from typing import Any, Literal

from rewardgap.configs.compute import at_least
from rewardgap.configs.paths import HomePaths
from rewardgap.configs.printing import PrintConfig
from rewardgap.errors import UserError

ExecutorName = Literal["local", "ray", "slurm"]


@dataclass(frozen=True, kw_only=True)
class RunConfig(PrintConfig):
    """Run an experiment: train every kind on every model with every seed.

    Every other key of `rewardgap train` is a key too, for all runs, such as --epochs 3.
    """

    experiment: str
    """YAML file of the experiment"""
    out: str
    """folder of experiment.yaml and of a run folder for each model, kind and seed"""
    name: str | None = None
    """name, instead of the experiment's; by default, other training data change it"""
    claim: str | None = None
    """claim that it tests, instead of the experiment's"""
    profile: str | None = None
    """one of the experiment's profiles, such as small"""
    data_dir: str | None = None
    """folder of prepared local files, which are used instead of the hub if they exist"""
    models: list[str] | None = None
    """initial language models, instead of the experiment's"""
    kinds: list[str] | None = None
    """kinds of reward model, instead of the experiment's"""
    seeds: list[int] | None = None
    """seeds, instead of the experiment's"""
    train: str | list[str] | None = None
    """training data, instead of the experiment's"""
    train_name: str | None = None
    """name of the training data; by default that of their file or source"""
    eval: dict[str, Any] = field(default_factory=dict)
    """other data of an evaluation set as --eval.NAME DATA, or any of its keys as --eval.NAME.KEY
    VALUE; a new name with a category adds a set"""
    train_rows: int | None = None
    """only the first rows of each file or source of training data"""
    eval_rows: int | None = None
    """only the first rows of each evaluation set"""
    variations: list[dict[str, Any]] | None = None
    """settings to vary, instead of the experiment's; [] for none"""
    generate: list[str] | None = None
    """evaluation sets whose prompts are answered, instead of the experiment's"""
    forecast: bool | None = None
    """whether to forecast the accuracies before training, instead of the experiment's setting"""
    settings: dict[str, Any] = field(default_factory=dict)
    """keys of `rewardgap train` for all runs"""
    dry_run: bool = False
    """print the runs with estimates of tokens and memory, and do nothing"""
    cells: list[str] | None = None
    """only these runs and forecasts, by their folders in `out` such as MODEL/explicit/seed-0"""
    executor: ExecutorName = "local"
    """where the runs are done: here one after another, on a cluster of Ray, or by an array of Slurm
    jobs, for which only the script is written"""
    address: str | None = None
    """HOST:PORT of the head of a Ray cluster; by default $RAY_ADDRESS, the cluster that this
    machine belongs to or, without one, Ray on this machine alone, as with local"""
    cpus_per_cell: int | None = None
    """processors of a run on Ray or Slurm; by default 1"""
    gpus_per_cell: float | None = None
    """GPUs of a run on Ray or Slurm; by default 1 where the Ray cluster has GPUs, else none; on
    Ray, several runs share a GPU with a fraction"""
    retries: int | None = None
    """times that Ray starts a run again whose process, machine or computation failed, from its last
    checkpoint; by default 3"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "cpus_per_cell")
        at_least(self, 0, "gpus_per_cell", "retries")


@dataclass(frozen=True, kw_only=True)
class ReportConfig(HomePaths):
    """Show the runs of experiments, or any runs, in tables, figures and one page."""

    folders: list[str]
    """folders of grids, of runs, or of folders of these"""
    out: str
    """folder of index.html, tables, figures, report.json and RewardBench's result files"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folders:
            raise UserError("name at least one folder of runs")
