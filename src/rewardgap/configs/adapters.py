"""Settings of adapters: training a few weights beside those of a model, which stay as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from rewardgap.configs.compute import at_least
from rewardgap.configs.paths import HomePaths
from rewardgap.errors import UserError

Method = Literal["lora", "dora"]
Quantisation = Literal["4bit"]


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(HomePaths):
    """What is trained instead of all weights; by default nothing is."""

    adapter: Method | None = None
    """train two matrices of low rank beside every linear layer, and a new head, instead of all
    weights: lora, or dora, which also trains the size of every output; name a learning rate such as
    1e-4 with it"""
    lora_rank: int | None = None
    """rank of an adapter's matrices; by default 16"""
    lora_alpha: int | None = None
    """an adapter's product is multiplied by this over its rank; by default twice the rank"""
    lora_targets: list[str] | None = None
    """names of the linear layers that get an adapter, such as q_proj v_proj; by default all of the
    transformer blocks"""
    quantise: Quantisation | None = None
    """with an adapter: keep the weights of these blocks in 4 bits (QLoRA), which changes rewards;
    needs bitsandbytes"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "lora_rank", "lora_alpha")
        if self.lora_targets is not None and not all(self.lora_targets):
            raise UserError("lora_targets must be names of linear layers, such as q_proj")
        if self.adapter is None:
            given = [key.name for key in fields(AdapterConfig) if getattr(self, key.name)]
            if given:
                raise UserError(
                    f"{given[0]} is a setting of adapters: name one, with adapter lora or dora"
                )

    @property
    def rank(self) -> int:
        """The rank of an adapter's matrices."""
        return self.lora_rank or 16

    @property
    def scales_outputs(self) -> bool:
        """Whether the adapter is DoRA's, which also trains the size of every output."""
        return self.adapter == "dora"

    @property
    def alpha(self) -> int:
        """What an adapter's product is multiplied by, times the rank."""
        return self.lora_alpha or 2 * self.rank

    @classmethod
    def of_run(cls, settings: Mapping[str, Any]) -> "AdapterConfig":
        """Return the settings of an adapter from those of a run, which may be without."""
        names = [key.name for key in fields(AdapterConfig) if key.name in settings]
        return AdapterConfig(**{name: settings[name] for name in names})
