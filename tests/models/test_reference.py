"""Reference log-probabilities: right, computed once, kept, and never stale."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import RECORDS, log_probs
from tiny import ARCHITECTURES, TEMPLATE, tiny_tokenizer
from toy import configure, pair_rows, read_rows, train_toy, write_rows
from transformers import AutoModelForCausalLM

from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load as load_records
from rewardgap.data.tree_store import StoredTrees, write_trees
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.reference import Reference

packing = import_module("rewardgap.models.packing")
reference_module = import_module("rewardgap.models.reference")
scoring = import_module("rewardgap.scoring.scorer")
training = import_module("rewardgap.training.train")
CPU = torch.device("cpu")


@pytest.fixture
def model(folders: Callable[..., Path]) -> Path:
    return folders("llama")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Number of tokens of every forward pass of a reference model."""
    counted: list[int] = []

    class Counting(LanguageModel):
        def hidden_states(self, batch, positions=None):
            counted.append(len(batch.tokens))
            return super().hidden_states(batch, positions)

    monkeypatch.setattr(reference_module, "LanguageModel", Counting)
    yield counted


def make(folder: Path, cache: Path, dtype: torch.dtype = torch.float32, **options) -> Reference:
    template = options.pop("template", None) or ChatTemplate.load(folder)
    compute_dtype = options.pop("compute_dtype", dtype)
    settings = CachedComputeConfig(token_budget=options.pop("budget", 4096), cache=str(cache))
    return Reference(folder, template, CPU, settings, compute_dtype, dtype, **options)


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "reference").iterdir())


def same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["own", "paper"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_values_equal_plain_transformers(architecture, template, folders, tmp_path):
    folder = folders(architecture, "<|pad|>", template)
    reference = make(folder, tmp_path, budget=300)
    trees = reference.template.encode(RECORDS)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    if template is None:
        plain = LanguageModel.load(folder, reference.template).model
        plain.set_attn_implementation("eager")
    for tree, values in zip(trees, reference.log_probs(trees), strict=True):
        assert values.dtype == np.float32
        prompt = list(tree.nodes[0])
        expected = [log_probs(plain, prompt, list(tree.nodes[leaf])) for leaf in tree.leaves]
        assert values == pytest.approx(torch.cat(expected).numpy(), abs=1e-5)


def test_chunks_change_no_value(model, tmp_path, monkeypatch):
    trees = ChatTemplate.load(model).encode(RECORDS)
    whole = make(model, tmp_path / "whole", budget=1).compute
    monkeypatch.setattr(packing, "micro_batches", lambda some, *_: [[i] for i in range(len(some))])
    expected = whole(trees)
    monkeypatch.setattr(reference_module, "CHUNK", 2)
    assert same(make(model, tmp_path / "chunks").log_probs(trees), expected)


def test_trees_on_disk_share_an_entry_with_those_in_memory(model, tmp_path, passes):
    trees = ChatTemplate.load(model).encode(RECORDS)
    first = make(model, tmp_path).log_probs(trees)
    passes.clear()
    write_trees(tmp_path / "trees", trees)
    assert same(make(model, tmp_path).log_probs(StoredTrees(tmp_path / "trees")), first)
    assert not passes


def test_values_are_computed_once_and_read_afterwards(model, tmp_path, passes):
    trees = ChatTemplate.load(model).encode(RECORDS)
    first = make(model, tmp_path, budget=120).log_probs(trees)
    assert sum(passes) == sum(tree.size for tree in trees) and len(passes) > 1
    passes.clear()
    again = make(model, tmp_path, budget=4096)
    assert same(again.log_probs(trees), first) and not passes
    assert again._model is None, "the model was loaded for nothing"
    for values, expected in zip(again.compute(trees[1:3]), first[1:3], strict=True):
        assert values == pytest.approx(expected, abs=1e-5)
    again.release()
    assert again._model is None


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "flipped": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
            "no header": b"\xff" * 100,
        }[how]
    )


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "no header"])
def test_a_damaged_entry_is_computed_again_and_rewritten(how, model, tmp_path, passes, caplog):
    trees = ChatTemplate.load(model).encode(RECORDS)
    first = list(make(model, tmp_path).log_probs(trees))
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    damage(path, how)
    passes.clear()
    assert same(make(model, tmp_path).log_probs(trees), first)
    assert passes and "is damaged; it is computed again" in caplog.text
    assert entries(tmp_path) == [path] and path.read_bytes() == whole


def changed_trees(trees: list[Tree]) -> Iterator[list[Tree]]:
    """The same tokens in other places, and other tokens in the same places."""
    tree = trees[1]
    prompt, *leaves = tree.nodes
    for nodes in (
        ((*prompt[:-1], prompt[-1] + 1), *leaves),
        (prompt + leaves[0][:1], leaves[0][1:], *leaves[1:]),
        (prompt, *reversed(leaves)),
    ):
        yield [trees[0], Tree(tree.record, nodes, tree.parents, 1, 1, tree.lengths)]
    yield trees[:1]
    yield trees[::-1]


def test_an_entry_is_named_by_weights_precision_and_tokens(model, folders, tmp_path, passes):
    template = ChatTemplate.load(model)
    trees = template.encode(RECORDS[:2])
    make(model, tmp_path).log_probs(trees)
    for other in changed_trees(trees):
        before = len(passes)
        make(model, tmp_path).log_probs(other)
        assert len(passes) > before
    for reference in (
        make(folders("llama", "<|pad|>", TEMPLATE, 1), tmp_path),
        make(model, tmp_path, torch.bfloat16),
        make(model, tmp_path, compute_dtype=torch.bfloat16),
    ):
        before = len(passes)
        reference.log_probs(trees)
        assert len(passes) > before
    copy = shutil.copytree(model, tmp_path / "copy")
    before = len(passes)
    make(copy, tmp_path).log_probs(trees)
    assert len(passes) == before, "where a model lies is no matter"
    assert len(entries(tmp_path)) == 9


def test_a_reference_with_another_tokenizer_is_refused(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "other")
    tokenizer = tiny_tokenizer()
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    text = json.loads((folder / "tokenizer.json").read_text())
    text["model"]["vocab"][words[-1][0]], text["model"]["vocab"][words[-2][0]] = 318, 319
    (folder / "tokenizer.json").write_text(json.dumps(text))
    reference = make(folder, tmp_path, template=ChatTemplate.load(model))
    with pytest.raises(UserError, match="has another tokenizer than the reward model"):
        reference.log_probs(reference.template.encode(RECORDS))
    assert not (tmp_path / "reference").exists()


def test_added_tokens_make_no_other_tokenizer(folders, tmp_path):
    """A model without a template and a reward model trained from it, with the paper's."""
    plain = folders("llama", None, None)
    saved = ChatTemplate.load(plain)
    saved.tokenizer.save_pretrained(tmp_path)
    trees = ChatTemplate.load(tmp_path).encode(RECORDS)
    reference = make(plain, tmp_path, template=ChatTemplate.load(tmp_path))
    assert same(reference.log_probs(trees), make(plain, tmp_path / "b").log_probs(trees))


def implicit(folder: Path, model: Path, name: str, **changes) -> Run:
    return train_toy(folder, model, kind="implicit", out=str(folder / name), **changes)


def test_runs_of_all_seeds_and_betas_and_later_scores_share_an_entry(model, tmp_path, passes):
    first = implicit(tmp_path, model, "first")
    assert len(entries(tmp_path / "cache")) == 2  # training and test set
    assert passes
    passes.clear()
    implicit(tmp_path, model, "second", seed=1, beta=0.2, epochs=1, learning_rate=1e-4)
    scorer = scoring.load(str(first.folder), cache=str(tmp_path / "cache"), device="cpu")
    scorer.score_records(load_records(str(tmp_path / "test.jsonl")))
    assert not passes


def test_the_cache_changes_no_result(model, tmp_path, monkeypatch):
    kept = implicit(tmp_path, model, "kept")
    kept = implicit(tmp_path, model, "again")
    monkeypatch.setattr(Reference, "log_probs", Reference.compute)
    computed = implicit(tmp_path, model, "computed")
    weights = [run.reward_model / "model.safetensors" for run in (kept, computed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert kept.scores("test").read_text() == computed.scores("test").read_text()


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


def test_a_run_whose_initial_model_is_gone_or_changed(model, folders, tmp_path):
    initial = shutil.copytree(model, tmp_path / "initial")
    run = implicit(tmp_path, initial, "out")
    before = read_rows(run.scores("test"))
    initial.rename(tmp_path / "moved")
    message = refusal(scoring.load, str(run.folder))
    assert "--reference" in message and str(initial) in message
    shutil.copytree(folders("llama", "<|pad|>", TEMPLATE, 1), initial)
    message = refusal(scoring.load, str(run.folder))
    assert "no longer the model that this reward model was trained from" in message
    found = scoring.load(str(run.folder), reference=str(tmp_path / "moved"), device="cpu")
    rows = found.score_records(load_records(str(tmp_path / "test.jsonl")))
    assert [row.scores_chosen[0] for row in rows] == [row["scores_chosen"] for row in before]


def test_an_implicit_model_without_a_reference_is_refused(model):
    message = refusal(scoring.load, str(model), kind="implicit")
    assert "name it with --reference" in message


def test_a_reference_that_is_too_short_for_the_data(model, folders, tmp_path):
    short = shutil.copytree(model, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 16}))
    scorer = scoring.load(str(model), kind="implicit", reference=str(short), cache=str(tmp_path))
    records = load_records(write_rows(tmp_path / "data.jsonl", pair_rows(5)))
    assert "reads at most 16" in refusal(scorer.score_records, records)


def test_a_full_disk_ends_a_run_in_one_line(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reference_module.Reference, "compute", fail)
    message = refusal(training.train, configure(tmp_path, model, kind="implicit"))
    assert message.startswith("cannot write") and message.endswith("No space left on device")
    assert not entries(tmp_path / "cache")
