"""The work that training takes: floating-point operations of the necessary matrix products.

Necessary is what any method must compute: each prompt once, every response, log-probabilities at
the tokens of responses alone. Embedding look-ups, norms, softmax, Adam, and whatever is computed a
second time in the backward pass are not counted.
"""

from dataclasses import dataclass

from rewardgap.data.tree_counts import TreeCounts
from rewardgap.models.shape import ModelShape


@dataclass(frozen=True)
class Passes:
    """Operations of a pass over trees: products with weights, attention, the output layer or head.

    A product with W weights costs 2 W per token; where states are read at the ends of responses,
    the last feed-forward network is needed there alone. Attention costs 4 H d in each block for
    every pair of a token and one that it sees (H heads of size d; the scores and the weighted sum).
    """

    blocks: float
    attention: float
    output: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.blocks + self.attention + self.output


def forward(shape: ModelShape, counts: TreeCounts) -> Passes:
    """Return the operations of a forward pass over all trees."""
    tokens, attended = int(counts.tokens.sum()), int(counts.attended.sum())
    positions = int(shape.positions_read(counts).sum())
    skipped = shape.last_mlp * (tokens - positions) if shape.skips else 0
    return Passes(
        blocks=2.0 * (shape.products * tokens - skipped),
        attention=4.0 * shape.layers * shape.query_width * attended,
        output=2.0 * (shape.output or shape.width) * positions,
    )


def backward(shape: ModelShape, counts: TreeCounts, lora_rank: int | None = None) -> Passes:
    """Return those of a backward pass.

    The gradients of inputs and of weights cost a forward pass each. Frozen blocks need neither;
    with LoRA, whose own products are counted with all their passes, weights need none.
    """
    once = forward(shape, counts)
    if lora_rank is not None:
        adapters = 6.0 * lora_rank * shape.factors * int(counts.tokens.sum())
        return Passes(once.blocks + adapters, 2 * once.attention, once.output)
    if not shape.trained_in_blocks:
        return Passes(0.0, 0.0, once.output)
    return Passes(2 * once.blocks, 2 * once.attention, 2 * once.output)
