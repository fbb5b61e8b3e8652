"""An evaluation set as kernels see it."""

from dataclasses import dataclass, replace

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
        lengths: (R,) by how many tokens drift weighs on a response: its own, or as many as would
            drift like it at the rate of the set (see `drifting`).
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

    def drifting(self, own: Array, point: Points) -> "Evaluation":
        """The set with lengths that make the drift of every response right at a point.

        Args:
            own: (R,) twice the drifts there.
            point: the point, P = 1. Where the set does not drift there, lengths stay what they are.
        """
        (rate,) = self._rate(point)
        return replace(self, lengths=own / rate) if rate else self

    def _rate(self, points: Points) -> Array:
        """(P,) variances that training brings about at a token."""
        products = self.probes @ points.weights.T
        return drift_rate(products, points.norms, self.tokens, self.noise)
