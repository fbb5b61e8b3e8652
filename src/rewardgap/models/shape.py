"""The shape of a reward model, as far as its work and its memory depend on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, cast

from torch import nn
from transformers import PreTrainedConfig

from rewardgap.data.tree_counts import Counts, TreeCounts
from rewardgap.data.trees import Tree
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import pack
from rewardgap.models.reading import layers_of

NEARLY_ALL = 0.9
"""Share of a block's weights that its linear layers hold, if there are norms and biases beside."""
ADAPTER = "lora_"
"""What PEFT's names of an adapter's modules and weights have in them."""


@dataclass(frozen=True)
class ModelShape:
    """Numbers of a model; it may be without weights.

    Attributes:
        parameters: Weights.
        trained: Weights that are trained.
        trained_in_blocks: Those of the transformer blocks.
        layers: Transformer blocks.
        width: Size D of the hidden state.
        query_width: Size of all heads of the queries together.
        key_width: Size of all heads of the keys together.
        inner_width: Size that a block's last product takes, that of the feed-forward network.
        gates: Outputs of the products before that, twice that size where there is a gate.
        inputs: Sum of the sizes that a block's products take.
        normalised: Sum of the sizes that a block's norms take.
        products: Weights of the matrix products of all blocks.
        last_mlp: Those of the last block's feed-forward network.
        factors: Sum of inputs and outputs of these products, the weights of LoRA of rank one.
        vocabulary: Size V of the output layer; 0 where there is none.
        embeddings: Weights outside of the blocks.
        reads_every_token: Whether rewards or losses read the state of every response token, and
            not of the last alone.
        skips: Whether the last feed-forward network is needed at the positions read alone.
    """

    parameters: int
    trained: int
    trained_in_blocks: int
    layers: int
    width: int
    query_width: int
    key_width: int
    inner_width: int
    gates: int
    inputs: int
    normalised: int
    products: int
    last_mlp: int
    factors: int
    vocabulary: int
    embeddings: int
    reads_every_token: bool
    skips: bool

    @classmethod
    def of(cls, model: TrainedRewardModel, tree: Tree) -> Self:
        """Return the shape of a model whose blocks are alike, with attention and linear layers.

        `tree` is any of its training records. Of a model of another form, such as a mixture of
        experts or one without attention, only the weights count: it has no `layers`.
        """
        config = model.model.config.get_text_config()
        width = getattr(config, "hidden_size", 0)
        query_width, key_width, head_width = _attention_widths(config)
        blocks, output = layers_of(model.model), model.model.get_output_embeddings()
        if not (query_width and all(map(_is_linear, blocks))):
            blocks = []
        last = blocks[-1] if blocks else nn.Identity()
        linears = _linears(last)
        mlp = _linears(cast(nn.Module, getattr(last, "mlp", None) or nn.Identity()))
        parameters = list(model.parameters())
        in_blocks = [p for block in blocks for p in block.parameters()]
        batch = pack([tree])
        positions = model.positions(batch)
        return cls(
            parameters=_count(parameters),
            trained=_count(p for p in parameters if p.requires_grad),
            trained_in_blocks=_count(p for p in in_blocks if p.requires_grad),
            layers=len(blocks),
            width=width,
            query_width=query_width,
            key_width=key_width,
            inner_width=mlp[-1].in_features if mlp else 0,
            gates=sum(layer.out_features for layer in mlp[:-1]),
            inputs=sum(layer.in_features for layer in linears),
            normalised=width * _norms(last, width)
            + (query_width + key_width) * (_norms(last, head_width) > 0),
            products=_weights(layer for block in blocks for layer in _linears(block)),
            last_mlp=_weights(mlp),
            factors=len(blocks) * sum(x.in_features + x.out_features for x in linears),
            vocabulary=0 if output is None else cast(nn.Linear, output).out_features,
            embeddings=_count(parameters) - _count(in_blocks),
            reads_every_token=positions is None or len(positions) > len(batch.response_lengths),
            skips=bool(mlp) and positions is not None,
        )

    @property
    def output(self) -> int:
        """Weights of the output layer."""
        return self.vocabulary * self.width

    def positions_read(self, counts: TreeCounts) -> Counts:
        """Return at how many positions of trees rewards and losses read states."""
        return counts.response_tokens if self.reads_every_token else counts.responses


def _attention_widths(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Return the sizes of all queries together, of all keys together and of a head.

    They are 0 where there is no attention, or where they differ from layer to layer.
    """
    try:
        heads = getattr(config, "num_attention_heads", None)
        if not isinstance(heads, int):
            return 0, 0, 0
        head = getattr(config, "head_dim", None) or config.hidden_size // heads
        return heads * head, (getattr(config, "num_key_value_heads", None) or heads) * head, head
    except (RuntimeError, TypeError):  # RuntimeError: what transformers raises of such a model
        return 0, 0, 0


def _is_linear(block: nn.Module) -> bool:
    """Return whether linear layers hold nearly all weights of a block, and some are its `mlp`."""
    own = _count(p for name, p in block.named_parameters() if ADAPTER not in name)
    return hasattr(block, "mlp") and _weights(_linears(block)) >= NEARLY_ALL * own


def _norms(block: nn.Module, width: int) -> int:
    """Return the number of a block's norms of vectors of this size, by the shape of a weight."""
    weights = (getattr(part, "weight", None) for part in _own_modules(block))
    return sum(weight is not None and tuple(weight.shape) == (width,) for weight in weights)


def _linears(module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers, but for those of an adapter."""
    return [part for part in _own_modules(module) if isinstance(part, nn.Linear)]


def _own_modules(module: nn.Module) -> list[nn.Module]:
    """Return all modules, but for those of an adapter."""
    return [part for name, part in module.named_modules() if ADAPTER not in name]


def _weights(layers: Iterable[nn.Linear]) -> int:
    return sum(layer.weight.numel() for layer in layers)


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
