"""Damaged input of every format ends in one line, never in a traceback; and the fuzzer itself.

`make fuzz` runs more of the same.
"""

import random
import time
from pathlib import Path

import pytest
import torch
from fuzzing import campaign
from fuzzing.campaign import fuzz
from fuzzing.material import Material
from fuzzing.mutations import mutate_bytes, mutate_value
from fuzzing.targets import TARGETS

from rewardgap.errors import UserError

COUNTS = {
    "caches": 25,
    "experiments": 25,
    "models": 25,
    "reports": 25,
    "resumed": 12,
    "run_folders": 20,
    "templates": 20,
}
"""Inputs of each target; 50 of the others, all in seconds: `make fuzz` takes as many as wished."""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    torch.set_num_threads(1)
    return Material(tmp_path_factory.mktemp("fuzzing"))


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_refused_in_one_line(name, material):
    findings = fuzz(name, range(COUNTS.get(name, 50)), 0, material, time.monotonic() + 120)
    assert not findings.faults, "\n".join(findings.details.values())
    assert not findings.outcomes["of several lines"]
    assert findings.outcomes["read"], "a target that refuses everything tests little"


@pytest.mark.parametrize("kind", ["exception", "hang", "wrong", "refusal"])
def test_a_fault_is_found_and_a_refusal_is_none(kind, material, monkeypatch):
    def act() -> None:
        if kind == "hang":
            time.sleep(5)
        assert kind != "wrong"
        raise UserError("no") if kind == "refusal" else ZeroDivisionError

    monkeypatch.setitem(TARGETS, "planted", lambda *_: act)
    monkeypatch.setattr(campaign, "SECONDS", 0.1)
    findings = fuzz("planted", range(2), 0, material, time.monotonic() + 60)
    names = {"exception": "ZeroDivisionError", "hang": "Hang", "wrong": "AssertionError"}
    if kind == "refusal":
        assert findings.outcomes == {"refused": 2} and not findings.faults
    else:
        ((fault, numbers),) = findings.faults.items()
        assert fault.startswith(names[kind]) and numbers == [0, 1] and findings.details[fault]


def test_damage_is_the_same_for_the_same_seed_and_leaves_the_original():
    value = {"id": "a", "chosen": ["yes", {"role": "user"}], "rejected": 0.5}
    mutated = [repr(mutate_value(value, random.Random(seed))) for seed in (*range(50), *range(50))]
    assert value == {"id": "a", "chosen": ["yes", {"role": "user"}], "rejected": 0.5}
    assert mutated[:50] == mutated[50:] and len(set(mutated)) > 40
    damaged = [mutate_bytes(b"some bytes", random.Random(seed)) for seed in range(50)]
    assert len(set(damaged)) > 40 and damaged == [
        mutate_bytes(b"some bytes", random.Random(seed)) for seed in range(50)
    ]


def test_the_damaged_files_are_those_of_the_folder_alone(material: Material, tmp_path: Path):
    """What the inputs are made from stays whole."""
    before = (material.run.config.read_bytes(), material.experiment.read_bytes())
    for name in ("run_folders", "experiments"):
        for number in range(5):
            folder = tmp_path / f"{name}-{number}"
            folder.mkdir()
            TARGETS[name](material, folder, random.Random(number))
    assert (material.run.config.read_bytes(), material.experiment.read_bytes()) == before
