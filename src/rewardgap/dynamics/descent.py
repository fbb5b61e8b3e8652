"""Training as it moves through function space: gradient descent in a kernel, and where it ends.

With fixed features φ a score is s = s₀ + ⟨w, φ⟩, and training is logistic regression: the rows are
training margins, the loss is the mean of ln(1 + e^−m), and w is a sum of features all along, so
that a kernel is all it takes. Steps follow the gradient flow, whose path does not depend on the
learning rate; where training stops on it is told by the loss.

A log-probability is not linear in the logits: where they change by δ, that of a token y changes by
δ_y − ln E e^δ, which to second order is δ_y − E δ − ½ Var δ under the initial π. Over a response of
T tokens the log-partition (the logarithm of the normaliser) thus takes ½ ρ T, with ρ the variance
that training brings about at a token. It is what makes both log-probabilities of a pair fall, and
that of the longer response further. ρ = Σ ⟨w, ψ⟩² / (number of tokens) is measured by random test
vectors ψ (Hutchinson's estimator), less what projections add to such a sum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rewardgap.dynamics.separator import max_margin_separator

Array = NDArray[np.float64]

STEPS = 4000
LOWEST_LOSS = 1e-3
# No step lowers the loss by more than about this share of it, and points are this far apart.
RESOLUTION = 0.04
# A step keeps close to the flow where the loss falls by this share of what its slope promises.
FAITHFUL = 0.75
# Descent has arrived where a step would lower the loss by less than this share of it.
PROGRESS = 1e-6
# Eigenvalues of a kernel below this share of the largest are rounding.
RANK = 1e-10


def token_variance(products: Array, norms: Array, tokens: float, noise: float) -> Array:
    """Return (P,) variances ρ of the logits that training brings about at a token, at P points.

    Args:
        products: (M, P) products of the weights w with the test vectors.
        norms: (P,) |w|².
        tokens: How many tokens the test vectors represent.
        noise: By what projections raise the sum of squared products, as a multiple of |w|².
    """
    return np.asarray(np.maximum(0.0, (products**2).sum(0) - noise * norms) / tokens)


@dataclass(frozen=True)
class KernelTraining:
    """Training rows as gradient descent sees them.

    The weights are w = Σ_b α_b v_b: over the features of the N rows, then the test vectors.

    Attributes:
        kernel: (B, B) inner products of the basis vectors.
        initial: (N,) margins before training.
        lengths: (N,) number of tokens at which the log-partition weighs on a row: those of the
            chosen response minus those of the rejected one.
        tokens: How many tokens the B − N test vectors represent, at least 1.
        noise: Of the test vectors, see `token_variance`.
        counts: (N,) how often each row counts.
    """

    kernel: Array
    initial: Array
    lengths: Array
    tokens: float
    noise: float
    counts: Array

    def variance(self, weights: Array, products: Array) -> float:
        """Return ρ at the (B,) weights α, of which w has the (B,) products ⟨w, v⟩."""
        tested = products[len(self.initial) :, None]
        norms = np.array([weights @ products])
        return float(token_variance(tested, norms, self.tokens, self.noise)[0])

    def margins(self, weights: Array, products: Array) -> Array:
        """Return the (N,) margins there."""
        correction = self.variance(weights, products) / 2 * self.lengths
        return np.asarray(self.initial + products[: len(self.initial)] - correction)

    def loss(self, weights: Array, products: Array) -> float:
        """Return the mean of ln(1 + e^−m) over the rows."""
        losses = np.logaddexp(0, -self.margins(weights, products))
        return float(self.counts @ losses / self.counts.sum())

    def resampled(self, rows_per_pair: int, seed: int) -> "KernelTraining":
        """Return the same training on as many pairs, drawn with replacement."""
        pairs = len(self.initial) // rows_per_pair
        drawn = np.random.default_rng(seed).integers(pairs, size=pairs)
        counts = np.tile(np.bincount(drawn, minlength=pairs), rows_per_pair)
        return replace(self, counts=counts.astype(np.float64))

    def descent(self, weights: Array, products: Array) -> Array:
        """Return the (B,) direction of steepest descent: −Σ counts times the gradient."""
        slopes = self.counts * expit(-self.margins(weights, products))
        if self.variance(weights, products) == 0:
            return np.concatenate([slopes, np.zeros(len(products) - len(slopes))])
        pull = -(slopes @ self.lengths) / self.tokens
        direction = -pull * self.noise * weights
        direction[: len(slopes)] += slopes
        direction[len(slopes) :] += pull * products[len(slopes) :]
        return np.asarray(direction)


@dataclass(frozen=True)
class TrajectoryPoints:
    """(P, B) weights α of the basis vectors at P points of a trajectory, and there (P,) |w|²."""

    weights: Array
    norms: Array


@dataclass(frozen=True)
class Trajectory:
    """Gradient descent along a training.

    Attributes:
        first: (B,) weights of the first step, of any length.
        losses: (P,) falling losses, the first one before training.
        points: The weights at each of them.
    """

    first: Array
    losses: Array
    points: TrajectoryPoints

    def reach(self, loss: float) -> int:
        """Return the index of the first point with at most this loss, else of the last point."""
        reached = np.flatnonzero(self.losses <= loss)
        return int(reached[0]) if len(reached) else len(self.losses) - 1


def descend(
    training: KernelTraining, lowest: float = LOWEST_LOSS, steps: int = STEPS
) -> Trajectory:
    """Follow gradient descent to a loss below `lowest`, as far as it gets, or for all steps."""
    weights = products = np.zeros(len(training.kernel))
    loss, rate = training.loss(weights, products), math.inf
    path = [(loss, weights, 0.0)]
    first = training.descent(weights, products)
    for _ in range(steps):
        direction = training.descent(weights, products)
        change = training.kernel @ direction
        slope = float(direction @ change) / training.counts.sum()
        if loss < lowest or slope <= 0 or rate * slope <= PROGRESS * loss:
            break
        rate = min(2 * rate, RESOLUTION * loss / slope)
        while True:
            step = weights + rate * direction, products + rate * change
            lowered = training.loss(*step)
            if not loss - lowered < FAITHFUL * rate * slope:
                break
            rate /= 2
        loss, (weights, products) = lowered, step
        if loss < (1 - RESOLUTION) * path[-1][0]:
            path.append((loss, weights, float(weights @ products)))
    if loss < path[-1][0]:
        path.append((loss, weights, float(weights @ products)))
    losses, points, norms = (np.array(values) for values in zip(*path, strict=True))
    return Trajectory(first, losses, TrajectoryPoints(points, norms))


@dataclass(frozen=True)
class Convergence:
    """The (B,) weights at which gradient descent ends to first order, without the log-partition.

    Where the rows are `separable` only the direction of w means anything: it is that of the
    max-margin separator (eq. 6), and the norm grows without end. Else the loss is least there.
    """

    weights: Array
    separable: bool


def converge(training: KernelTraining) -> Convergence:
    """Find the end of gradient descent without following it."""
    rows = len(training.initial)
    weights = np.zeros(len(training.kernel))
    values, vectors = np.linalg.eigh(training.kernel[:rows, :rows])
    above = values > RANK * max(values[-1], 0)
    if not above.any():
        return Convergence(weights, False)
    roots = np.sqrt(values[above])
    features, back = vectors[:, above] * roots, vectors[:, above] / roots
    separator = max_margin_separator(features)
    direction = separator.direction
    if not separator.separable:
        direction = _least_loss(features, training.initial)
    weights[:rows] = back @ direction
    return Convergence(weights, separator.separable)


def _least_loss(features: Array, initial: Array) -> Array:
    """Return the minimiser w of the mean of ln(1 + e^−m), m = m₀ + ⟨w, φ⟩, on (N, W) features."""
    scale = np.linalg.norm(features, axis=1).mean()
    unit = features / scale

    def loss_and_gradient(direction: Array) -> tuple[float, Array]:
        margins = initial + unit @ direction
        loss = float(np.logaddexp(0, -margins).mean())
        return loss, -(expit(-margins) @ unit) / len(margins)

    start, options = np.zeros(features.shape[1]), {"maxiter": 5000, "maxfun": 10000}
    result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(result.x / scale)
