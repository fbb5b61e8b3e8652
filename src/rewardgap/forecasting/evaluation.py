"""An evaluation set as kernels see it."""

from dataclasses import dataclass

import numpy as np

from rewardgap.dynamics.descent import Points, drift_rate
from rewardgap.forecasting.features import Array


@dataclass(frozen=True)
class Evaluation:
    """An evaluation set of R responses, against the B basis vectors of a training.

    Attributes:
        kernel: (R, B) inner products of the features.
        probes: (M, B) inner products of the probes.
        scores: (R,) the scores before training.
        lengths: (R,) by how many tokens drift weighs on a response.
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
        drift = self._rate(points) / 2 * self.lengths[:, None]
        return np.asarray(self.scores[:, None] + self.change(points.weights.T) - drift)

    def _rate(self, points: Points) -> Array:
        """(P,) variances that training brings about at a token."""
        products = self.probes @ points.weights.T
        return drift_rate(products, points.norms, self.tokens, self.noise)
