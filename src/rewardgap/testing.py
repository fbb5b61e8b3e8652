"""The contract of a kind of reward model, as a check that any test can call."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import softplus

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.dynamics.equations import gradient_kernel
from rewardgap.dynamics.last_layer import gradient_sums
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel, TrainedRewardModel
from rewardgap.models.packing import pack
from rewardgap.scoring.tree_rewards import score_trees

TOLERANCE = 1e-5
STEPS, LEARNING_RATE = 20, 1e-3


def check_kind(
    name: str, model_folder: str | Path, options: KindConfig | None = None, seed: int = 0
) -> None:
    """Check that a kind keeps the contract that training, scoring and forecasts rely on.

    A reward depends on its prompt and response alone; the loss is eq. 3 unless the kind has its
    own; gradients in the last layer are those that the kind states; gradients reach the whole model
    and lower the loss; a saved model scores as before.

    Args:
        name: A registered kind, or `module:Class`.
        model_folder: A small causal language model with its tokenizer.
        options: Settings of the kind.
        seed: What the kind draws from.

    Raises:
        AssertionError: It does not; the message says in what.
        UserError: There is no such kind, or it cannot start from this language model.
    """
    folder, options = Path(model_folder), options or KindConfig()
    kind, template = find_kind(name), ChatTemplate.load(folder)
    model = kind.initialise(folder, template, options, torch.float32, seed).eval()
    _check_encoding(model)
    _check_rewards(model)
    _check_prefixes(model)
    _check_losses(model)
    with tempfile.TemporaryDirectory() as saved:
        model.save(Path(saved))
        loaded = kind.load(Path(saved), ChatTemplate.load(Path(saved)), options, torch.float32)
        change = _difference(_rewards(model, RECORDS), _rewards(loaded.eval(), RECORDS))
        assert change < TOLERANCE / 10, f"saving and loading changes rewards by {change:.2g}"
    if model.equation is not None:
        _check_gradient_terms(model)
    if model.language_model is not None:
        _check_learning(model)


def _record(prompt: str, chosen: Sequence[str], rejected: Sequence[str]) -> Record:
    sides = [tuple((Message("assistant", text),) for text in texts) for texts in (chosen, rejected)]
    return Record(prompt, (Message("user", prompt),), sides[0], sides[1], {})


RECORDS = (
    _record("Is it so?", ["yes, it certainly is"], ["no"]),
    _record("hi", ["yes"], ["no, never", "five is what I would say"]),
    _record("What is two plus two? " * 3, ["four", "four, I think"], ["three", "not really"]),
)


def _check_encoding(model: RewardModel) -> None:
    encoder = type(model.encoder)
    assert type(model).encode is RewardModel.encode, (
        "the kind writes records itself: let `encoding` name a class that does, with a name of its "
        "own, for trees are cached by that name"
    )
    encodings: list[type[ChatEncoding]] = [find_kind(name).encoding for name in KINDS]
    assert all(encoding is encoder for encoding in encodings if encoding.name == encoder.name), (
        f"the encoding's name {encoder.name!r} is taken: its cached trees would be mixed up"
    )


def _references(model: RewardModel, trees: Sequence[Tree]) -> list[np.ndarray] | None:
    """Return made-up reference log-probabilities, which depend on the tokens alone."""
    if not model.needs_reference:
        return None
    tokens = [np.concatenate([tree.nodes[leaf] for leaf in tree.leaves]) for tree in trees]
    return [-(1 + ids % 5).astype(np.float32) / 5 for ids in tokens]


def _rewards(
    model: RewardModel, records: Sequence[Record], token_budget: int | None = None
) -> list[list[float]]:
    trees = model.encode(records)
    model.check_readable(trees)
    return score_trees(model, trees, _references(model, trees), token_budget)


def _difference(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Return the largest difference between two lists of rewards, relative beyond 1."""
    values, references = np.concatenate([*first]), np.concatenate([*second])
    return float((abs(values - references) / np.maximum(1, abs(references))).max())


def _check_rewards(model: RewardModel) -> None:
    singles = [_rewards(model, [record])[0] for record in RECORDS]
    for record, values in zip(RECORDS, singles, strict=True):
        assert len(values) == len(record.responses), "there is not one reward per response"
        assert np.isfinite(values).all(), f"a reward of {record.id!r} is not finite"
    largest = max(tree.size for tree in model.encode(RECORDS))
    siblings = [
        [_rewards(model, [Record("alone", record.prompt, (response,), (), {})])[0][0]]
        for record in RECORDS
        for response in record.responses
    ]
    swapped = [Record(r.id, r.prompt, r.rejected, r.chosen, {}) for r in RECORDS]
    counts = [len(record.rejected) for record in RECORDS]
    changes = {
        "its batch mates": _rewards(model, RECORDS),
        "the order of records": _rewards(model, RECORDS[::-1])[::-1],
        "the token budget": _rewards(model, RECORDS, largest),
        "the other responses to its prompt": siblings,
        "whether it is chosen or rejected": [
            rewards[count:] + rewards[:count]
            for count, rewards in zip(counts, _rewards(model, swapped), strict=True)
        ],
    }
    for cause, rewards in changes.items():
        difference = _difference(rewards, singles)
        assert difference < TOLERANCE, f"a reward changes with {cause}, by {difference:.2g}"


@torch.no_grad()
def _check_prefixes(model: RewardModel) -> None:
    trees = model.encode(RECORDS)
    references = _references(model, trees)
    for i, (record, tree) in enumerate(zip(RECORDS, trees, strict=True)):
        prefixes = model.prefix_rewards(tree, None if references is None else references[i])
        assert tuple(map(len, prefixes)) == tree.lengths, (
            "there is not one prefix reward per token of every response"
        )
        ends = [[float(values[-1]) for values in prefixes]]
        difference = _difference(ends, _rewards(model, [record]))
        assert difference < TOLERANCE, (
            f"prefix rewards do not end in the response's reward, but {difference:.2g} beside it"
        )


def _losses(model: RewardModel, records: Sequence[Record]) -> torch.Tensor:
    trees = model.encode_for_training(records)
    losses = model(pack(trees, _references(model, trees))).losses
    pairs = sum(len(record.chosen) * len(record.rejected) for record in records)
    assert losses.shape == (pairs,), "there is not one loss per pair"
    assert losses.isfinite().all(), "a loss is not finite"
    return torch.as_tensor(losses)


@torch.no_grad()
def _check_losses(model: RewardModel) -> None:
    together = _losses(model, RECORDS)
    singles = torch.cat([_losses(model, [record]) for record in RECORDS])
    difference = _difference([together.tolist()], [singles.tolist()])
    assert difference < TOLERANCE, f"a loss changes with its batch mates, by {difference:.2g}"
    if type(model).losses is RewardModel.losses:
        trees = model.encode_for_training(RECORDS)
        batch = pack(trees, _references(model, trees))
        rewards = torch.linspace(-2, 3, len(batch.response_lengths))
        margins = rewards[batch.chosen] - rewards[batch.rejected]
        losses = model.losses(model.read(batch, model.positions(batch)), rewards)
        assert torch.allclose(losses, softplus(-margins)), "the loss is not eq. 3, −ln σ(r⁺ − r⁻)"


def _check_gradient_terms(model: RewardModel) -> None:
    """Compare the gradients of rewards in the last layer with those of `gradient_terms`."""
    assert isinstance(model, TrainedRewardModel), "a kind with an equation reads a language model"
    trees = model.encode(RECORDS)
    batch = pack(trees, _references(model, trees))
    with torch.no_grad():
        states = model.read(batch)
    rewards = model.rewards(states)
    parameters = list(model.parameters())
    rows = []
    for reward in rewards:
        gradients = torch.autograd.grad(
            reward, parameters, retain_graph=True, materialize_grads=True
        )
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).double())
    with torch.no_grad():
        slopes = model.reward_slopes(rewards).double()
        sums = gradient_sums(model, model.gradient_terms(batch), states)
        kernel = slopes[:, None] * gradient_kernel(sums, sums).double() * slopes
    expected = torch.stack(rows) @ torch.stack(rows).T
    difference = float((kernel - expected).abs().max() / expected.abs().max())
    assert difference < 1e-3, (
        "`gradient_terms` and `reward_slopes` do not give the gradients of rewards in the last "
        f"layer: their products differ by {difference:.2g}"
    )


def _check_learning(model: RewardModel) -> None:
    assert model.language_model is not None
    embedding = model.language_model.model.get_input_embeddings()
    margin = _margin(model)
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    values = []
    for _ in range(STEPS):
        adam.zero_grad()
        values.append(_losses(model, RECORDS).mean())
        values[-1].backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients), "a gradient is not finite"
        (weight,) = embedding.parameters()
        assert weight.grad is not None and weight.grad.any(), (
            "the loss has no gradient in the input embedding: something on the way is detached"
        )
        adam.step()
    first, last = values[0].item(), _losses(model, RECORDS).mean().item()
    assert last < first, f"{STEPS} steps do not lower the loss: {first:.4f}, then {last:.4f}"
    assert _margin(model) > margin, f"{STEPS} steps do not raise the mean margin r⁺ − r⁻"


def _margin(model: RewardModel) -> float:
    rows = zip(RECORDS, _rewards(model, RECORDS), strict=True)
    margins = [rewards[i] - rewards[j] for record, rewards in rows for i, j in record.pairs]
    return float(np.mean(margins))
