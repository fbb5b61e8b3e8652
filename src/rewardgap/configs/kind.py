"""Settings of a kind of reward model."""

from dataclasses import dataclass, fields

from rewardgap.configs.compute import positive
from rewardgap.configs.paths import HomePaths
from rewardgap.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RewardConfig(HomePaths):
    """Settings that determine the rewards of a kind."""

    beta: float | None = None
    """factor of an implicit reward; by default 0.01, or 1 without a reference"""
    verification_prompt: str | None = None
    """a generative model's question, with {prompt} and {response}; by default the paper's"""
    label: str | None = None
    """which output of a classification model with several is the reward: its label or its number"""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")


@dataclass(frozen=True, kw_only=True)
class KindConfig(RewardConfig):
    """All settings of a kind: of its rewards and of its loss."""

    likelihood_weight: float = 0.0
    """λ of a generative model's loss: weight of −ln π(chosen | prompt)"""
    margin_column: str | None = None
    """column of the training data with a number m for every record, by which the chosen reward is
    to exceed the rejected one: the loss is −ln σ(r⁺ − r⁻ − m); by default there is no margin"""
    label_smoothing: float | None = None
    """share ε of labels taken to be wrong, below 0.5, as in conservative DPO: the loss is
    −(1 − ε) ln σ(z) − ε ln σ(−z) of z = r⁺ − r⁻ (− m); by default 0"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 0.5:
            raise UserError(
                f"label_smoothing must be at least 0 and below 0.5; it is {self.label_smoothing}"
            )

    @classmethod
    def of(cls, config: RewardConfig) -> "KindConfig":
        """Return the settings of a kind from a command's configuration, which may lack some."""
        settings = {field.name for field in fields(KindConfig)}
        names = [field.name for field in fields(config) if field.name in settings]
        return KindConfig(**{name: getattr(config, name) for name in names})
