"""The first step of Adam, and what more weight on one training pair changes in it.

Adam divides the mean gradient ḡ of a batch, weight by weight, by √v; at its first step v is the
square of that gradient, on average over batches of B pairs ḡ² + (m − ḡ²) / B, with m the mean
square of a single pair's gradient. Where all pairs agree the step is as long with one of them less:
only where they differ does it matter which of them are there.
"""

from torch import Tensor

EPSILON = 1e-8  # of Adam


def first_step(mean: Tensor, squares: Tensor, batch_size: int) -> Tensor:
    """Return ḡ / (√v + ε), by which the first step lowers the weights, per unit of learning rate.

    Args:
        mean: Mean gradient ḡ of all pairs' losses, of any shape.
        squares: Mean m of the squares of single pairs' gradients, of the same shape.
        batch_size: Pairs in a step, B.
    """
    return mean / (_mean_square(mean, squares, batch_size).sqrt() + EPSILON)


def first_step_slope(mean: Tensor, squares: Tensor, batch_size: int) -> Tensor:
    """Return the derivative of `first_step` by the mean gradient, weight by weight, with m fixed.

    Up to ε it is (m / B) / v^{3/2}.
    """
    root = _mean_square(mean, squares, batch_size).sqrt()
    damping = (1 - 1 / batch_size) * mean.square() / (root * (root + EPSILON))
    return (1 - damping.nan_to_num(nan=0.0)) / (root + EPSILON)


def _mean_square(mean: Tensor, squares: Tensor, batch_size: int) -> Tensor:
    return mean.square() + (squares - mean.square()).clamp(min=0) / batch_size
