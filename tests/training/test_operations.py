"""Operations of training, against those that PyTorch counts while it trains."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toy import several_rows, write_rows

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load
from rewardgap.data.tree_counts import TreeCounts
from rewardgap.models import attention
from rewardgap.models.kinds import find_kind
from rewardgap.models.packing import pack
from rewardgap.models.shape import ModelShape
from rewardgap.training.operations import backward, forward


@pytest.fixture
def model_of(folders, tmp_path, monkeypatch):
    """A reward model of a kind, and the trees of a few records as it reads them."""

    # Plain masks, for PyTorch cannot count with those of its own class.
    monkeypatch.setattr(
        attention,
        "causal_lower_right",
        lambda new, total: attention._causal_mask(new, total, None, torch.device("cpu")),
    )

    def make(kind: str):
        template = ChatTemplate.load(folders("llama"))
        model = find_kind(kind).initialise(
            folders("llama"), template, KindConfig(), torch.float32, seed=0
        )
        records = load(write_rows(tmp_path / "rows.jsonl", several_rows(3)))
        return model.train(), model.encode_for_training(records)

    return make


def counted(model, trees) -> tuple[float, float]:
    """Operations of a forward and of a backward pass, as PyTorch counts products."""
    lengths = [sum(len(tree.nodes[leaf]) for leaf in tree.leaves) for tree in trees]
    batch = pack(trees, [np.zeros(length, np.float32) for length in lengths])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as there:
        loss = model(batch).losses.sum()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as back:
        loss.backward()
    return float(there.get_total_flops()), float(back.get_total_flops())


def squares(model, trees) -> int:
    """Operations of attention that PyTorch counts: of tokens that are not seen, too."""
    config, pairs = model.model.config, 0
    for tree in trees:
        for node, tokens in enumerate(tree.nodes):
            pairs += len(tokens) * sum(len(tree.nodes[i]) for i in tree.path(node))
    return 4 * config.num_hidden_layers * config.hidden_size * pairs


# How often a kind computes the output layer: what is needed once is computed again for the
# gradient of its chunk, and a generative model computes it for Yes and No, and for the reward.
@pytest.mark.parametrize(
    ("kind", "there", "back"), [("explicit", 1, 2), ("implicit", 1, 3), ("generative", 3, 6)]
)
def test_operations_are_those_that_pytorch_counts(kind, there, back, model_of):
    model, trees = model_of(kind)
    shape, counts = ModelShape.of(model, trees[0]), TreeCounts.of(trees)
    once, gradient = forward(shape, counts), backward(shape, counts)
    attention_once = squares(model, trees)
    assert counted(model, trees) == (
        once.blocks + attention_once + there * once.output,
        gradient.blocks + 2 * attention_once + back * once.output,
    )
    assert gradient.total == 2 * once.total
    assert attention_once / 2 < once.attention < attention_once


def test_frozen_blocks_have_no_backward_pass(model_of):
    model, trees = model_of("implicit")
    model.language_model.freeze()
    shape, counts = ModelShape.of(model, trees[0]), TreeCounts.of(trees)
    gradient = backward(shape, counts)
    assert gradient.blocks == gradient.attention == 0
    assert counted(model, trees)[1] == gradient.output + forward(shape, counts).output


def test_with_lora_weights_have_no_gradient(model_of):
    model, trees = model_of("implicit")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("embed_tokens" in name)  # inputs of all blocks have gradients
    shape, counts = ModelShape.of(model, trees[0]), TreeCounts.of(trees)
    adapters = 6 * 3 * shape.factors * int(counts.tokens.sum())
    gradient = backward(shape, counts, lora_rank=3)
    again = forward(shape, counts).output
    of_products = gradient.blocks - adapters + 2 * squares(model, trees) + gradient.output + again
    assert counted(model, trees)[1] == of_products
