"""Training as it moves through function space: gradient descent in a kernel, and where it ends.

With fixed features φ a score is s = s₀ + ⟨w, φ⟩, and training is logistic regression: the rows are
training margins m = m₀ + K α, the loss is the mean of ln(1 + e^−m), and w = Σ_j α_j φ_j all along.
Steps follow the gradient flow, whose path does not depend on the learning rate; where training
stops on it is told by the loss. No torch here: a kernel and the initial margins are all it takes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from rewardgap.separator import max_margin_separator

Array = NDArray[np.float64]

STEPS = 4000
LOWEST_LOSS = 1e-3
# A step is this share of the longest that is stable, which keeps close to the flow.
CAUTION = 0.5
# No step lowers the loss by more than about this share of it, and points are this far apart.
RESOLUTION = 0.04
# Descent has arrived where a step would lower the loss by less than this share of it.
PROGRESS = 1e-6
# Eigenvalues of a kernel below this share of the largest are rounding.
RANK = 1e-10


@dataclass(frozen=True)
class Path:
    """Gradient descent on the training rows; a score is s₀ + K̄ weights.

    Attributes:
        first: (N,) weights of the first step, of any length: a share of eq. 4, 5 or 8 each.
        losses: (P,) falling losses, the first one before training.
        weights: (P, N) weights α at each of them.
    """

    first: Array
    losses: Array
    weights: Array

    def reach(self, loss: float) -> int:
        """Position of the first point with at most this loss; the last one where none has."""
        reached = np.flatnonzero(self.losses <= loss)
        return int(reached[0]) if len(reached) else len(self.losses) - 1


def descend(kernel: Array, initial: Array, steps: int = STEPS) -> Path:
    """Follow gradient descent from the initial margins.

    Args:
        kernel: (N, N) inner products of the training rows' features.
        initial: (N,) margins before training.
        steps: at most.

    Returns:
        The path down to `LOWEST_LOSS`, to where it gets no further, or to the last step.
    """
    margins, weights = initial.astype(np.float64), np.zeros(len(initial))
    loss = _loss(margins)
    losses, kept = [loss], [weights]
    vector = np.ones(len(initial))
    for step in range(steps):
        slopes = expit(-margins)
        curvature, vector = _curvature(kernel, slopes * (1 - slopes), vector, 1 if step else 20)
        change = kernel @ slopes
        descent = slopes @ change / len(slopes)
        if loss < LOWEST_LOSS or CAUTION * descent <= PROGRESS * loss * curvature:
            break
        rate = min(CAUTION / curvature, RESOLUTION * loss / descent)
        weights, margins = weights + rate * slopes, margins + rate * change
        loss = _loss(margins)
        if loss < (1 - RESOLUTION) * losses[-1]:
            losses.append(loss)
            kept.append(weights)
    if loss < losses[-1]:
        losses.append(loss)
        kept.append(weights)
    return Path(expit(-initial), np.array(losses), np.stack(kept))


def _loss(margins: Array) -> float:
    return float(np.logaddexp(0, -margins).mean())


def _curvature(kernel: Array, slopes: Array, vector: Array, rounds: int) -> tuple[float, Array]:
    """The largest eigenvalue of √D K √D by power iteration from the last step's eigenvector."""
    roots = np.sqrt(slopes)
    for _ in range(rounds):
        vector = roots * (kernel @ (roots * vector))
        size = float(np.linalg.norm(vector))
        if size == 0:
            return 0.0, vector
        vector = vector / size
    return size, vector


@dataclass(frozen=True)
class Limit:
    """Where gradient descent ends.

    Attributes:
        weights: (N,) of the rows. Where they can all be ranked rightly only the direction of w
            means anything: it is that of the max-margin separator (eq. 6), and the norm grows
            without end.
        separable: whether they can; else the weights are those of the least loss.
    """

    weights: Array
    separable: bool


def converge(kernel: Array, initial: Array) -> Limit:
    """Find the end of gradient descent without walking there.

    Args:
        kernel: (N, N) inner products of the training rows' features.
        initial: (N,) margins before training; they matter only if the rows are not separable.
    """
    values, vectors = np.linalg.eigh(kernel)
    kept = values > RANK * max(values[-1], 0)
    if not kept.any():
        return Limit(np.zeros(len(initial)), False)
    roots = np.sqrt(values[kept])
    features, back = vectors[:, kept] * roots, vectors[:, kept] / roots
    separator = max_margin_separator(features)
    if separator.separable:
        return Limit(back @ separator.direction, True)
    return Limit(back @ _least_loss(features, initial), False)


def _least_loss(features: Array, initial: Array) -> Array:
    """The minimiser w of the mean of ln(1 + e^−m), m = m₀ + ⟨w, φ⟩, on (N, W) features."""
    scale = np.linalg.norm(features, axis=1).mean()
    unit = features / scale

    def loss_and_gradient(direction: Array) -> tuple[float, Array]:
        margins = initial + unit @ direction
        return _loss(margins), -(expit(-margins) @ unit) / len(margins)

    found = minimize(
        loss_and_gradient,
        np.zeros(features.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000},
    )
    return np.asarray(found.x / scale)
