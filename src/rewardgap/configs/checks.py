"""Settings of the commands check data and check model."""

from dataclasses import dataclass, field

from rewardgap.configs.compute import Identical, at_least
from rewardgap.configs.printing import PrintConfig
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CheckDataConfig(PrintConfig):
    """Look for what is wrong with preference data, before anything is trained on them."""

    train: list[str] = field(default_factory=list)
    """training data: files, saved data sets, hub ids, or source:part"""
    eval: dict[str, str] = field(default_factory=dict)
    """evaluation data by name, as --eval.NAME DATA"""
    model: str | None = None
    """a model directory or hub id, whose tokenizer tells what is truncated"""
    template: str | None = None
    """chat template instead of the model's: a file, or a name as in train"""
    max_length: int | None = None
    """tokens to which sequences will be truncated; by default as many as the model can read"""
    identical_pairs: Identical = "refuse"
    """as in train: drop leaves out records that have a response both chosen and rejected"""
    quick: bool = False
    """leave out the slow checks: near duplicates, languages, bag of words"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "max_length")
        if not self.train and not self.eval:
            raise UserError("name data to check, as --train DATA or --eval.NAME DATA")
        if self.max_length is not None and self.model is None:
            raise UserError("max_length counts a model's tokens: name the model with --model")


@dataclass(frozen=True, kw_only=True)
class CheckModelConfig(PrintConfig):
    """Look for what makes a reward model's rewards wrong, here or in other tools."""

    model: str
    """a run's folder, a model directory, or a hub id"""
    kind: str | None = None
    """kind of a model trained elsewhere; a classification model is explicit by default"""
    reference: str | None = None
    """initial model of an implicit model; a run knows its own"""
    label: str | None = None
    """the output that is the reward, where a head has several: its name or its number"""
    template: str | None = None
    """chat template instead of the model's: a file, or a name as in score"""
    data: str | None = None
    """preference data on which costs are measured; by default a few pairs that come along"""
    records: int = 32
    """how many records of the data to measure on"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "records")
