"""An evaluation set as kernels see it."""

from dataclasses import dataclass

import numpy as np

from rewardgap.forecasting.curve import Points, drift_rate
from rewardgap.forecasting.features import Array


@dataclass(frozen=True)
class Evaluation:
    """An evaluation set of R responses, against the B basis vectors of a training.

    Attributes:
        kernel: (R, B) inner products of the features.
        probes: (M, B) inner products of the probes.
        scores: (R,) the scores before training.
        lengths: (R,) tokens.
        tokens: how many tokens the probes stand for, at least 1.
        noise: of the probes (see `drift_rate`).
    """

    kernel: Array
    probes: Array
    scores: Array
    lengths: Array
    tokens: float
    noise: float

    def change(self, weights: Array) -> Array:
        """(R, P) first-order changes of the scores by (B, P) weights."""
        return np.asarray(self.kernel @ weights)

    def trained(self, points: Points) -> Array:
        """(R, P) scores at P points, drift included."""
        weights = points.weights.T
        drift = drift_rate(self.probes @ weights, points.norms, self.tokens, self.noise)
        trained = self.scores[:, None] + self.change(weights) - drift / 2 * self.lengths[:, None]
        return np.asarray(trained)
