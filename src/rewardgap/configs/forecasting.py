"""Settings of the commands on learning dynamics: forecast, explain, theory and ches."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rewardgap.configs.compute import CachedComputeConfig, ComputeConfig, at_least, positive
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.printing import OverwriteConfig, PrintConfig
from rewardgap.configs.training import OptimiserConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(
    OptimiserConfig, KindConfig, CachedComputeConfig, OverwriteConfig, PrintConfig
):
    """Forecast the accuracy of reward models that are not trained yet.

    The keys of the optimiser are those of the training that is forecast.
    """

    model: str
    """initial language model: a directory or a hub id"""
    train: str | list[str]
    """training data: a file, a saved data set, a hub id, or source:part; or a list of these"""
    out: str
    """folder for forecast.json, score files, the table and the recommendation"""
    eval: dict[str, str] = field(default_factory=dict)
    """evaluation data by name, as --eval.NAME DATA"""
    kinds: list[str] = field(default_factory=lambda: ["explicit", "implicit"])
    """kinds of reward model to forecast"""
    budget: float | None = None
    """share of the cost of training that rehearsals may take: every step of the training, with
    few pairs in each; by default 0.05 of many pairs to 0.75 of few; 0: theory alone"""
    loss: float | None = None
    """loss of a pair at which training is expected to stop; by default it stops when its epochs end
    (theory alone: 0.3)"""
    memory: float = 1.0
    """GiB for the gradients of the training pairs; where they need more they are projected"""
    seed: int = 0
    """seed of the random projection and of a new head"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "token_budget")
        at_least(self, 0, "seed")
        positive(self, "loss", "memory")
        if self.budget is not None and not 0 <= self.budget <= 1:
            raise UserError(f"budget must be a share between 0 and 1; it is {self.budget}")
        if not self.eval:
            raise UserError("name at least one evaluation set, as --eval.NAME DATA")
        for key in ("margin_column", "label_smoothing"):
            if getattr(self, key):
                raise UserError(f"{key} cannot be forecast: theory knows the plain loss alone")
        if not self.kinds:
            raise UserError("kinds must name at least one kind of reward model")

    def settings(self) -> dict[str, Any]:
        """Return what config.yaml of the forecast holds."""
        said = {key.name for form in (OverwriteConfig, PrintConfig) for key in fields(form)}
        return {key: value for key, value in asdict(self).items() if key not in said}


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(KindConfig, CachedComputeConfig, OverwriteConfig, PrintConfig):
    """Explain why responses got their rewards: by their tokens and by the training pairs."""

    model: str
    """a run's folder, a forecast's folder, a saved reward model, or a hub id"""
    data: str
    """data with the record: a file, a saved data set, a hub id, or source:part"""
    out: str
    """the .html page to write; all numbers go beside it as .json"""
    id: str | None = None
    """id of the record, as score files have it"""
    row: int | None = None
    """row of the record in the data, from 0, as score files have it as data_row"""
    worst: int | None = None
    """instead of a record by name: 1 is the record of the lowest margin, 2 the next one, and so
    on"""
    counterpart: str | None = None
    """id of a paraphrase of the record; the margin that it loses is split into tokens"""
    counterpart_row: int | None = None
    """row of the paraphrase, instead of its id"""
    counterpart_data: str | None = None
    """data that hold the paraphrase, by default the same data; without an id or a row, the record
    of the same id there"""
    top: int = 3
    """how many of the training pairs that raise each reward to show, and of those that lower it"""
    max_pairs: int | None = None
    """use a random sample of at most this many training pairs; by default all"""
    seed: int = 0
    """seed of the sample"""
    train: str | None = None
    """training data; by default those of the run"""
    reference: str | None = None
    """initial language model, if it has moved or the model was trained elsewhere"""
    kind: str | None = None
    """kind of a model trained elsewhere, or one of a forecast's"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "top", "token_budget", "max_pairs", "worst")
        at_least(self, 0, "seed", "row", "counterpart_row")
        if sum(value is not None for value in (self.id, self.row, self.worst)) != 1:
            raise UserError("name one record: --row N, --id ID, or --worst N by its margin")
        if self.counterpart is not None and self.counterpart_row is not None:
            raise UserError("name the counterpart by its id or by its row")
        if not self.out.endswith((".html", ".htm")):
            raise UserError(f"out must end in .html; it is {self.out}")


@dataclass(frozen=True, kw_only=True)
class TheoryConfig(PrintConfig):
    """Check the paper's theorems on tasks that can be enumerated."""

    out: str
    """folder for theory.json and a picture of each theorem"""
    seed: int = 0
    """seed of the random tasks"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "seed")


@dataclass(frozen=True, kw_only=True)
class ChesConfig(ComputeConfig, OverwriteConfig, PrintConfig):
    """Score how far every training pair displaces its chosen response (CHES scores)."""

    model: str
    """initial language model: a directory or a hub id"""
    data: str | list[str]
    """training data: a file, a saved data set, a hub id, or source:part; or a list of these"""
    out: str
    """the score file to write"""
