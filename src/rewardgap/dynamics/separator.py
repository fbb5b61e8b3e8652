"""The max-margin separator u* of preference pairs (eq. 6), and what it says about unseen pairs.

Minimising ‖u‖² under ⟨u, φ_i⟩ ≥ 1 is Lawson and Hanson's least-distance problem, which one
non-negative least-squares fit solves: its weights a ≥ 0 give either the separator Φᵀa, or, by
Gordan's theorem, the proof Φᵀa = 0 that no u separates. Both outcomes are checked after solving.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from rewardgap.errors import UserError

Array = NDArray[np.float64]

# A solution of eq. 6 is given out only if its optimality conditions hold to this relative error.
_KKT_TOLERANCE = 1e-6
# "Not separable" needs proof that no margin exceeds this share of the largest feature norm.
_NO_MARGIN = 1e-8


@dataclass(frozen=True)
class Separator:
    """Whether training pairs can be separated through the origin, and by what.

    Attributes:
        separable: False if no direction ranks every training pair rightly (in double precision).
        direction: (D,) u* of eq. 6; empty if not separable.
        margin: 1 / ‖u*‖, the distance from the origin's hyperplane to the nearest feature. If not
            separable: a bound that no direction's margin exceeds, about 0.
        multipliers: (N,) dual variables ≥ 0 with u* = Σ_i multipliers_i φ_i; positive on the pairs
            that determine u*. If not separable: weights of sum 1 with Σ_i weights_i φ_i ≈ 0.
        residual: Largest relative violation of eq. 6's optimality conditions; 0 if not separable.
    """

    separable: bool
    direction: Array
    margin: float
    multipliers: Array
    residual: float

    def products(self, features: ArrayLike) -> Array:
        """Return ⟨u*, φ̄⟩ for (M, D) differences φ̄ = h(x, y⁺) − h(x, y⁻) of evaluation pairs.

        Raises:
            UserError: The training pairs were not separable, so that there is no u*.
        """
        if not self.separable:
            raise UserError(
                "the training pairs are not linearly separable, so they have no max-margin "
                "separator: drop contradictory pairs, or take fewer pairs"
            )
        return np.asarray(features, dtype=np.float64) @ self.direction

    def positive_share(self, features: ArrayLike) -> float:
        """Return the share with ⟨u*, φ̄⟩ > 0 (theorem 2, footnote 3), NaN of no pairs."""
        products = self.products(features)
        return float(np.mean(products > 0)) if len(products) else float("nan")


def max_margin_separator(features: ArrayLike) -> Separator:
    """Solve eq. 6: u* = argmin ‖u‖² such that ⟨u, φ_i⟩ ≥ 1 for every training pair, no intercept.

    Args:
        features: (N, D) differences φ = h(x, y⁺) − h(x, y⁻); computed in float64.

    Returns:
        A separator whose optimality is verified to 1e-6 relative, or one with `separable` false.
        A margin below 1e-8 of the largest feature norm may count as not separable.

    Raises:
        UserError: No pairs, or values that are not finite.
        ArithmeticError: The solver reached neither answer to the stated accuracy.
        RuntimeError: It ran out of iterations.
    """
    training = np.asarray(features, dtype=np.float64)
    if training.ndim != 2 or training.shape[0] == 0:
        raise UserError(f"eq. 6 needs a matrix with a row for every pair, got {training.shape}")
    finite = np.isfinite(training).all(axis=1)
    if not finite.all():
        raise UserError(f"pair {finite.argmin()} has a hidden state that is not finite")
    norms = np.linalg.norm(training, axis=1)
    if not norms.all():
        return Separator(False, np.empty(0), 0.0, (norms == 0) / np.sum(norms == 0), 0.0)
    scale = float(norms.max())
    unit = training / scale
    weights = _least_distance_weights(unit)
    direction, multipliers = _solution_on_support(unit, weights > 0)
    residual = _kkt_residual(unit, direction, multipliers)
    if residual <= _KKT_TOLERANCE:
        margin = scale / float(np.linalg.norm(direction))
        return Separator(True, direction / scale, margin, multipliers / scale**2, residual)
    bound = float(np.linalg.norm(weights @ unit))
    if bound <= _NO_MARGIN:
        return Separator(False, np.empty(0), bound * scale, weights, 0.0)
    raise ArithmeticError(f"eq. 6 solved only to {residual:.1e}: the features are ill-conditioned")


def _least_distance_weights(unit: Array) -> Array:
    """Return a ≥ 0 of sum 1 that minimises ‖Φᵀa‖, by Lawson and Hanson's reduction to NNLS."""
    count, width = unit.shape
    target = np.zeros(width + 1)
    target[-1] = 1
    weights, _ = nnls(np.vstack([unit.T, np.ones(count)]), target, maxiter=30 * count)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _solution_on_support(unit: Array, support: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return u of least norm with ⟨u, φ_i⟩ = 1 on the support, and multipliers with u = Φᵀα.

    NNLS squares the margin into its residual; solving on its support regains the lost digits.
    """
    active = unit[support]
    direction = np.asarray(np.linalg.lstsq(active, np.ones(len(active)), rcond=None)[0])
    multipliers = np.zeros(len(unit))
    multipliers[support] = np.linalg.lstsq(active.T, direction, rcond=None)[0].clip(min=0)
    return direction.astype(np.float64, copy=False), multipliers


def _kkt_residual(unit: Array, direction: Array, multipliers: Array) -> float:
    """Return the largest relative violation of the Karush–Kuhn–Tucker conditions of eq. 6.

    The multipliers are non-negative already, and sum to ‖u‖² at the optimum. Infinite for u = 0,
    the least-squares answer to pairs that cancel exactly.
    """
    if not direction.any():
        return float("inf")
    slack = unit @ direction - 1
    stationarity = np.linalg.norm(direction - multipliers @ unit) / np.linalg.norm(direction)
    complementarity = multipliers @ np.abs(slack) / (direction @ direction)
    return float(max(stationarity, complementarity, -slack.min()))
