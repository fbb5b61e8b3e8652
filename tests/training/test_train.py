"""Training runs from start to end, against plain transformers and sums written out."""

import copy
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from plain import BASELINES, TRAINABLE, Plain, plain_copy
from safetensors.torch import load_file
from torch.nn.utils import clip_grad_norm_
from toy import configure, pair_rows, read_rows, several_rows, train_toy, write_rows
from transformers import AutoModelForCausalLM

from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Record
from rewardgap.io.run_folder import Run
from rewardgap.models import devices
from rewardgap.models.kinds import find_kind
from rewardgap.training.batches import BatchSampler

training = import_module("rewardgap.training.train")  # the package's attribute may be the function
SMALL_BUDGETS = {"explicit": 110, "implicit": 110, "generative": 290}  # their largest tree fits
LOGGED = {
    *("step", "epoch", "loss", "accuracy", "margin", "reward_chosen", "reward_rejected"),
    *("grad_norm", "learning_rate", "pairs_per_second", "tokens_per_second", "peak_memory"),
}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.reward_model / "model.safetensors")


def furthest(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """The largest difference between any two weights."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def bits(run: Run) -> tuple[bytes, str]:
    return (run.reward_model / "model.safetensors").read_bytes(), run.scores("test").read_text()


def interval_keys(values: dict[str, float]) -> bool:
    return set(values) == {"value", "low", "high"}


@pytest.mark.parametrize("kind", TRAINABLE)
def test_a_run_learns_a_separable_set_and_leaves_what_was_promised(kind, model, tmp_path):
    run = train_toy(tmp_path, model, kind=kind, epochs=6)
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.yaml", "inputs.json", "reward_model", "log.jsonl", "scores", "metrics.json"),
        "checksums.json",
    }
    log = read_rows(run.log)
    logged = LOGGED | ({"log_prob_chosen", "log_prob_rejected"} if "implicit" in kind else set())
    assert all(row.keys() == logged for row in log)
    assert [row["step"] for row in log] == list(range(1, 19))
    assert [row["epoch"] for row in log] == pytest.approx([step / 3 for step in range(1, 19)])
    assert sum(row["loss"] for row in log[-3:]) < 0.5 * sum(row["loss"] for row in log[:3])
    assert [row["accuracy"] for row in log[-3:]] == [1, 1, 1]
    assert all(
        row["margin"] == pytest.approx(row["reward_chosen"] - row["reward_rejected"], abs=1e-5)
        for row in log
    )
    scores = read_rows(run.scores("test"))
    assert [row["id"] for row in scores] == [f"pair-{i}" for i in range(12, 18)]
    metrics = json.loads(run.metrics.read_text())["test"]
    assert metrics["accuracy"]["value"] > 0.8 and metrics["n"] == 6 and metrics["ties"] == 0
    assert interval_keys(metrics["accuracy"]) and interval_keys(metrics["margin"])
    assert set(metrics["baselines"]) == {"longer", "shorter", "bag_of_words"}
    assert all(map(interval_keys, metrics["baselines"].values()))
    assert metrics["baselines"]["bag_of_words"]["value"] == 1


@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference"])
def test_log_probabilities_in_the_log_are_those_of_the_language_model(kind, model, tmp_path):
    run = train_toy(tmp_path, model, kind=kind, epochs=1, batch_size=12, beta=0.3)
    records = load_records(str(tmp_path / "train.jsonl"))
    ours = find_kind("implicit-no-reference").initialise(
        model, ChatTemplate.load(model), KindConfig(beta=1.0), torch.float32
    )
    plain = Plain("implicit-no-reference", ours)
    sides = {
        "chosen": [plain.reward(plain.write(r, r.chosen[0])).item() for r in records],
        "rejected": [plain.reward(plain.write(r, r.rejected[0])).item() for r in records],
    }
    (row,) = read_rows(run.log)
    for side, values in sides.items():
        assert row[f"log_prob_{side}"] == pytest.approx(sum(values) / len(values), abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_frozen_backbone_leaves_the_last_layer_alone_to_learn(
    kind, architecture, folders, tmp_path
):
    """Gemma-2's output embedding is its input embedding, which must not move."""
    folder = folders(architecture)
    run = train_toy(tmp_path, folder, kind=kind, epochs=6, frozen_backbone=True)
    before, after = load_file(folder / "model.safetensors"), weights(run)
    head = "score.weight" if kind == "explicit" else "lm_head.weight"
    moved = {n for n in after if n not in before or not torch.equal(after[n], before[n])}
    assert moved == {head}
    log = read_rows(run.log)
    assert log[-1]["loss"] < log[0]["loss"]
    if kind == "implicit":  # the saved model is read with its two embeddings apart
        saved = AutoModelForCausalLM.from_pretrained(run.reward_model)
        torch.testing.assert_close(saved.get_output_embeddings().weight, after[head])
        original = before["model.embed_tokens.weight"]
        torch.testing.assert_close(saved.get_input_embeddings().weight[: len(original)], original)


@pytest.mark.parametrize("kind", BASELINES)
def test_baselines_are_scored_without_a_step(kind, model, tmp_path):
    run = train_toy(tmp_path, model, kind=kind)
    assert not run.log.exists() and not run.checkpoints.exists()
    assert not list(run.reward_model.glob("*.safetensors"))
    metrics = json.loads(run.metrics.read_text())["test"]
    rows = read_rows(run.scores("test"))
    if kind == "constant":
        assert metrics["accuracy"]["value"] == 0.5 and metrics["ties"] == 6
    else:
        assert [row["scores_chosen"] for row in rows] == [row["tokens_chosen"] for row in rows]
        pairs = [(row["tokens_chosen"], row["tokens_rejected"]) for row in rows]
        right = [0.5 + 0.5 * np.sign(chosen - rejected) for chosen, rejected in pairs]
        assert metrics["accuracy"]["value"] == pytest.approx(np.mean(right))


def test_the_resolved_configuration_is_written_before_any_work(model, tmp_path, monkeypatch):
    config = configure(tmp_path, model, eval={})

    def look(folder: Path, template: str | None) -> ChatTemplate:
        written = {path.name for path in Path(config.out).iterdir()}
        assert written == {".lock", "config.yaml", "inputs.json"}
        assert yaml.safe_load(Run(Path(config.out)).config.read_text()) == config.settings()
        raise InterruptedError

    monkeypatch.setattr(training.ChatTemplate, "load", look)
    with pytest.raises(InterruptedError):
        training.train(config)


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_the_seed_determines_every_bit(kind, model, tmp_path):
    runs = [
        train_toy(tmp_path, model, kind=kind, seed=seed, out=str(tmp_path / str(i)))
        for i, seed in enumerate((1, 1, 2))
    ]
    first, same, other = map(bits, runs)
    assert first == same
    assert first[0] != other[0] and first[1] != other[1]


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_the_token_budget_changes_nothing(kind, model, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(10))
    runs = [
        train_toy(
            tmp_path,
            model,
            kind=kind,
            train=data,
            eval={},
            epochs=2,
            batch_size=7,
            learning_rate=1e-4,
            token_budget=budget,
            out=str(tmp_path / str(budget)),
        )
        for budget in (SMALL_BUDGETS[kind], 100_000)
    ]
    assert furthest(*map(weights, runs)) <= 1e-6
    logs = [[row["loss"] for row in read_rows(run.log)] for run in runs]
    assert logs[0] == pytest.approx(logs[1], rel=1e-6)


def plain_run(kind: str, model: Path, config: TrainConfig, records: list[Record]):
    """The same run on plain transformers: sequence by sequence, pair by pair, torch's Adam.

    Returns the initial model, the trained one and the loss of every step.
    """
    options = KindConfig.of(config)
    template = ChatTemplate.load(model)
    ours = find_kind(kind).initialise(model, template, options, torch.float32, config.seed)
    plain = Plain(kind, ours, plain_copy(AutoModelForCausalLM.from_pretrained(model)))
    before = copy.deepcopy(plain.model)
    adam = torch.optim.Adam(plain.model.parameters(), lr=config.learning_rate)
    losses = []
    pairs = [len(record.pairs) for record in records]
    for step in BatchSampler(pairs, config.batch_size, config.epochs, config.seed):
        pairs = [loss for i in step for loss in plain.losses(records[i])]
        assert len(pairs) <= config.batch_size
        loss = torch.stack(pairs).mean()
        adam.zero_grad()
        loss.backward()
        if config.max_grad_norm is not None:
            clip_grad_norm_(plain.model.parameters(), config.max_grad_norm)
        adam.step()
        losses.append(float(loss.detach()))
    return before, plain, losses


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("explicit", {"max_grad_norm": 0.1}),
        ("explicit-mean", {}),
        ("implicit", {"beta": 0.3}),
        ("implicit-no-reference", {}),
        ("generative", {"likelihood_weight": 0.2}),
    ],
)
def test_a_run_equals_plain_transformers_with_adam(kind, changes, model, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(6))
    config = configure(
        tmp_path,
        model,
        kind=kind,
        train=data,
        eval={},
        epochs=1,
        batch_size=8,
        learning_rate=1e-4,
        token_budget=SMALL_BUDGETS.get(kind, 110),
        seed=3,
        **changes,
    )
    run = Run(training.train(config))
    before, plain, losses = plain_run(kind, model, config, load_records(data))
    assert len(losses) >= 2
    assert [row["loss"] for row in read_rows(run.log)] == pytest.approx(losses, rel=1e-5)
    # In the norm: Adam divides by the size of a gradient, which magnifies the rounding of those
    # near zero.
    start, end = before.state_dict(), plain.model.state_dict()
    for name, trained in weights(run).items():
        moved = end[name] - start[name]
        assert (trained - end[name]).norm() < 1e-2 * moved.norm(), name


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_accuracies_are_measured_on_the_way(kind, model, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(7))
    sets = {"a": data, "b": write_rows(tmp_path / "b.jsonl", pair_rows(5, start=20))}
    run = train_toy(tmp_path, model, kind=kind, eval=sets, eval_steps=3, token_budget=500)
    log = read_rows(run.log)
    watched = {"eval_accuracy/a", "eval_accuracy/b"}
    assert [row["step"] for row in log if watched <= row.keys()] == [3, 6, 9]
    assert not any(watched & row.keys() for row in log if row["step"] % 3)
    metrics = json.loads(run.metrics.read_text())
    for name in "ab":
        assert log[-1][f"eval_accuracy/{name}"] == metrics[name]["accuracy"]["value"]


def test_gradient_checkpointing_changes_no_bit(model, tmp_path):
    runs = [
        train_toy(tmp_path, model, gradient_checkpointing=use, out=str(tmp_path / str(use)))
        for use in (False, True)
    ]
    assert bits(runs[0]) == bits(runs[1])


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_bfloat16_products_keep_float32_weights(kind, model, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda device: False)
    exact = train_toy(tmp_path, model, kind=kind, eval={})
    assert "emulated" not in caplog.text, "float32 is the default on a processor"
    rounded = train_toy(
        tmp_path, model, kind=kind, eval={}, dtype="bfloat16", out=str(tmp_path / "rounded")
    )
    assert "bfloat16 is emulated on this cpu" in caplog.text
    assert {tensor.dtype for tensor in weights(rounded).values()} == {torch.float32}
    initial = load_file(model / "model.safetensors")
    moved, apart = (
        furthest_shared(weights(exact), initial),
        furthest(weights(exact), weights(rounded)),
    )
    assert 0 < apart < 2.5 * moved
    losses = [[row["loss"] for row in read_rows(run.log)] for run in (exact, rounded)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], abs=0.1)


def furthest_shared(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    shared = first.keys() & second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in shared)


def test_a_look_at_the_data_before_training_warns_and_changes_nothing(
    folders, tmp_path, monkeypatch, caplog
):
    rows = [{"prompt": "hi", "chosen": "yes", "rejected": "no", "margin": i % 2} for i in range(4)]
    weights = []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        data = write_rows(tmp_path / name / "tied.jsonl", rows)
        run = train_toy(tmp_path / name, folders("llama"), train=data, eval={}, epochs=1)
        weights.append((run.reward_model / "model.safetensors").read_bytes())
        monkeypatch.setattr("rewardgap.training.train.warn_of_data", lambda *data: None)
    assert weights[0] == weights[1]
    said = [message for message in caplog.messages if "of train" in message]
    assert said == [
        "2 of 4 records (50 %) of train have equal scores for the chosen and the rejected response",
        "3 of 4 records (75 %) of train repeat an earlier pair word for word",
    ]
