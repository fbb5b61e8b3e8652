"""Settings of a kind of reward model."""

from dataclasses import dataclass

from rewardgap.configs.bounds import positive


@dataclass(frozen=True, kw_only=True)
class KindConfig:
    """Settings that some kinds of reward model read."""

    beta: float | None = None
    """factor of an implicit reward; by default 0.01, or 1 without a reference"""
    likelihood_weight: float = 0.0
    """λ of a generative model's loss: weight of −ln π(chosen | prompt)"""
    verification_prompt: str | None = None
    """a generative model's question, with {prompt} and {response}; by default the paper's"""

    def __post_init__(self) -> None:
        """Refuse a factor that would turn rewards around or into nothing."""
        positive(self, "beta")
