"""What the forecast asks of a kind of reward model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from rewardgap.dynamics.projection import GradientProjector
from rewardgap.models.kinds.reward_model import ResponseStates
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.language_model import Vocabulary
from rewardgap.models.packing import Pack


class Readout(ABC):
    """One kind's read-out, on the initial model.

    Attributes:
        judges_singly: whether the loss judges every response on its own (eq. 7), and not the two
            of a pair against each other (eq. 3).
        is_narrow: whether gradients in the last layer lie in so few rows that `narrow` gives them.
        drifts: whether scores are log-probabilities, which have probes.
    """

    judges_singly: ClassVar[bool] = False
    is_narrow: ClassVar[bool] = False
    drifts: ClassVar[bool] = False

    def __init__(self, model: TrainedRewardModel):
        self.model = model

    @property
    @abstractmethod
    def head(self) -> nn.Parameter:
        """The weights of the last layer: the head u or the output embedding U."""

    def positions(self, pack: Pack) -> Tensor | None:
        """Places of the row whose states `last_layer` reads; None for all."""
        return self.model.positions(pack)

    @abstractmethod
    def scores(self, leaves: ResponseStates) -> Tensor:
        """(L,) scores of all leaves, with their gradient."""

    @abstractmethod
    def last_layer(
        self,
        leaves: ResponseStates,
        keeper: GradientProjector,
        values: Tensor,
        probes: Mapping[int, Tensor],
    ) -> Tensor:
        """Add what is kept of gradients in the last layer's weights.

        Args:
            leaves: L leaves.
            keeper: what is kept.
            values: (L, W) to add the gradients of the scores to.
            probes: for some leaves a (W,) vector to add the probe to.

        Returns:
            (L,) scores.
        """

    def fluctuations(self, leaves: ResponseStates, probed: Sequence[int]) -> Tensor:
        """Sums whose gradients are the probes of some leaves."""
        raise NotImplementedError

    def narrow(self, leaves: ResponseStates) -> Tensor:
        """(L, K) gradients of the scores in the rows where they lie."""
        raise NotImplementedError


class VocabularyReadout(Readout):
    """A read-out of the output embedding U."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The output layer."""
        return self.model.vocabulary

    @property
    def head(self) -> nn.Parameter:
        """The output embedding U."""
        return cast(nn.Parameter, self.vocabulary.layer.weight)
