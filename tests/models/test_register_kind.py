"""A kind from outside the package: registered, checked, trained, scored."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch
from example_kind import LengthNormalised
from plain import RECORDS, log_probs, plain_copy
from toy import read_rows, train_toy

from rewardgap.configs.scoring import ScoreConfig
from rewardgap.errors import UserError
from rewardgap.models import kinds
from rewardgap.models.kinds import KINDS, find_kind, register_kind
from rewardgap.models.kinds.explicit import Explicit
from rewardgap.models.kinds.gradients import Terms
from rewardgap.scoring.score import score
from rewardgap.scoring.scorer import load
from rewardgap.testing import check_kind

DOCS = Path(__file__).parents[2] / "docs" / "kinds.md"
PATH = "example_kind:LengthNormalised"


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """The registry as it was, after every test."""
    monkeypatch.setattr(kinds, "KINDS", kinds.KINDS)
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


def test_the_docs_show_the_kind_that_is_tested_here():
    source = Path(sys.modules["example_kind"].__file__).read_text()
    assert source in DOCS.read_text() and len(source.splitlines()) <= 30


def test_a_registered_kind_keeps_the_contract_trains_and_scores(folders, tmp_path):
    register_kind("length-normalised", PATH)
    assert find_kind("length-normalised") is LengthNormalised
    check_kind("length-normalised", folders("llama"))
    run = train_toy(tmp_path, folders("llama"), kind="length-normalised")
    log = read_rows(run.log)
    assert log[-1]["loss"] < log[0]["loss"]
    out = str(tmp_path / "again.jsonl")
    score(ScoreConfig(model=str(run.folder), data=str(tmp_path / "test.jsonl"), out=out))
    assert read_rows(Path(out)) == read_rows(run.scores("test"))


def test_its_reward_is_the_mean_log_probability(folders):
    model = load(str(folders("llama")), kind=PATH).model
    plain = plain_copy(model.language_model.model)
    (tree,) = model.encode([RECORDS[1]])
    prompt, answer = list(tree.nodes[0]), list(tree.nodes[1])
    expected = 2 * log_probs(plain, prompt, answer).mean().item()
    rewards = load(str(folders("llama")), kind=PATH).score(RECORDS[1].id, ["four, certainly"])
    assert rewards == pytest.approx([expected], abs=1e-5)


def test_a_kind_is_named_by_its_place(folders, tmp_path):
    run = train_toy(tmp_path, folders("llama"), kind=PATH, epochs=1)
    assert run.metrics.exists() and PATH not in KINDS
    with pytest.raises(UserError, match=f"to import its code, name it: --kind {PATH}"):
        load(str(run.folder))
    assert load(str(run.folder), kind=PATH).score("hi", ["yes"])


def test_a_kind_lies_in_the_working_directory(tmp_path, monkeypatch):
    source = Path(sys.modules["example_kind"].__file__).read_text()
    (tmp_path / "kind_of_mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert find_kind("kind_of_mine:LengthNormalised").default_beta == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Kind", "cannot import the kind 'no_such_module:Kind': No module"),
        ("example_kind:Missing", "cannot import the kind 'example_kind:Missing': module"),
        ("example_kind:torch", "'example_kind:torch' is no subclass of rewardgap's RewardModel"),
        ("best", "unknown kind 'best'; the kinds are explicit, .*, and module:Class"),
    ],
)
def test_a_name_that_is_no_kind_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        find_kind(name)


def test_a_taken_name_is_refused_and_the_same_again_is_not():
    register_kind("mine", PATH)
    register_kind("mine", PATH)
    with pytest.raises(UserError, match=r"the kind 'explicit' is taken by .*; choose another"):
        register_kind("explicit", LengthNormalised)
    register_kind("my-class", LengthNormalised)
    assert find_kind("my-class") is LengthNormalised


def test_installed_packages_bring_kinds(monkeypatch):
    entry = EntryPoint("packaged", PATH, "rewardgap.kinds")
    monkeypatch.setattr(
        kinds, "entry_points", lambda **wanted: EntryPoints([entry]).select(**wanted)
    )
    assert find_kind("packaged") is LengthNormalised
    with pytest.raises(UserError, match="unknown kind 'another'"):
        find_kind("another")


class DependsOnItsMates(Explicit):
    def rewards(self, states):
        rewards = super().rewards(states)
        return rewards - rewards.mean()


class LearnsBackwards(Explicit):
    def losses(self, states, rewards):
        return -super().losses(states, rewards)


class Detached(Explicit):
    def rewards(self, states):
        return self.head(states.last.detach())


class WritesRecordsItself(Explicit):
    def encode(self, records, max_length=None):
        return super().encode(records, max_length)


class WrongPrefixes(Explicit):
    def prefixes(self, states):
        return [values + 1 for values in super().prefixes(states)]


class ForgetsItsHead(Explicit):
    def save(self, folder):
        self.model.score.weight.data.mul_(2)
        super().save(folder)
        self.model.score.weight.data.div_(2)


class SaysAnotherGradient(Explicit):
    def gradient_terms(self, pack):
        return Terms.at_every_token(pack, torch.ones(len(pack.response_tokens)))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (SaysAnotherGradient, "do not give the gradients of rewards in the last layer"),
        (DependsOnItsMates, "a reward changes with its batch mates"),
        (LearnsBackwards, "20 steps do not raise the mean margin"),
        (Detached, "no gradient in the input embedding"),
        (WritesRecordsItself, "let `encoding` name a class"),
        (WrongPrefixes, "prefix rewards do not end in the response's reward"),
        (ForgetsItsHead, "saving and loading changes rewards"),
    ],
)
def test_what_breaks_the_contract_is_said(kind, message, folders):
    register_kind("broken", kind)
    with pytest.raises(AssertionError, match=message):
        check_kind("broken", folders("llama"))
