"""Settings of the command plan."""

from dataclasses import dataclass, field
from typing import Any, Literal

from rewardgap.configs.compute import at_least, positive
from rewardgap.configs.printing import PrintConfig
from rewardgap.errors import UserError

DeviceName = Literal["a10", "l4", "l40s", "a100-40gb", "a100", "h100", "h200", "mi300x"]


@dataclass(frozen=True, kw_only=True)
class PlanConfig(PrintConfig):
    """Say what a training or a grid will need: tokens, operations, memory, hours and cost.

    Nothing is trained; data are read and tokenised. Every other key of `rewardgap train` is a key
    too, for all runs, such as --epochs 3.
    """

    file: str
    """YAML file: keys of `rewardgap train`, or an experiment as `rewardgap run` takes it"""
    devices: int = 1
    """number of devices of a run"""
    lora_rank: int = 16
    """rank of LoRA, with which training all weights is compared"""
    device_name: DeviceName | None = None
    """device whose memory and speed count; by default this machine's memory, and no hours"""
    share_of_peak: float = 0.18
    """share of the named device's peak in bfloat16 that is assumed; 0.18 was measured on an H100
    with steps of 8 pairs and a model of 1.2 billion parameters"""
    calibrate: bool = False
    """time a step of every kind on this machine, for its hours; takes as much memory as training"""
    price: float | None = None
    """price of one device per hour, in any currency"""
    models: list[str] | None = None
    """initial language models, instead of the file's"""
    kinds: list[str] | None = None
    """kinds of reward model, instead of the file's"""
    seeds: list[int] | None = None
    """seeds, instead of the file's"""
    train: str | list[str] | None = None
    """training data, instead of the file's"""
    eval: dict[str, Any] = field(default_factory=dict)
    """other data of an evaluation set as --eval.NAME DATA"""
    profile: str | None = None
    """one of the experiment's profiles, such as small"""
    data_dir: str | None = None
    """folder of prepared local files, for an experiment"""
    train_rows: int | None = None
    """only the first rows of each file or source of an experiment's training data"""
    eval_rows: int | None = None
    """only the first rows of each evaluation set of an experiment"""
    settings: dict[str, Any] = field(default_factory=dict)
    """keys of `rewardgap train` for all runs"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "devices", "lora_rank")
        positive(self, "share_of_peak", "price")
        if self.share_of_peak > 1:
            raise UserError(f"share_of_peak must be at most 1; it is {self.share_of_peak}")
        if self.calibrate and self.device_name:
            raise UserError(
                "calibrate times this machine, not a named device: leave out device_name"
            )
        if self.price is not None and not (self.calibrate or self.device_name):
            raise UserError("price needs hours: name a device with device_name, or calibrate")
