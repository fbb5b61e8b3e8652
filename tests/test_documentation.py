"""The documentation: every code block runs, and the site is built without a network.

Blocks run in one process, with a tiny random model and a few rows under the names that the pages use
(`MODEL`, `pairs.jsonl`, `runs/explicit`, …). That a command runs, and that its keys exist, is what is
tested; the numbers that a page prints are those of the models that it names.
"""

import re
import shutil
from pathlib import Path

import pytest
from blocks import LANGUAGES, PAGES, ROOT, blocks, run_page
from tiny import TEMPLATE
from toy import configure, pair_rows, write_rows

from rewardgap.checks.data import DATA_CHECKS
from rewardgap.checks.model import MODEL_CHECKS
from rewardgap.evaluation.measures import MEASURES
from rewardgap.models.kinds import KINDS
from rewardgap.training.train import train

TRAINING = ("pairs.jsonl", "PAIRS.jsonl", "data.jsonl", "all.jsonl", "rewardmath_train.jsonl")
EVALUATION = (
    *("test.jsonl", "TEST.jsonl", "more.jsonl", "reworded.jsonl", "REWORDED.jsonl"),
    *("rewardmath_test.jsonl", "rewardbench_math_test.jsonl", "uf_test.jsonl"),
)
NOT_RUN = 6
"""Blocks that are read and not run; each has its reason in the page."""


@pytest.fixture(scope="module")
def prepared(folders, tmp_path_factory) -> Path:
    """A folder with what the pages name."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("MODEL", "LM", "runs/demo/language_model"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folders("llama"))
    for kind in ("explicit", "implicit"):
        out = folder / "runs" / kind
        train(configure(folder, folders("llama"), kind=kind, out=str(out), device="cpu"))
    for name in TRAINING:
        write_rows(folder / name, pair_rows(8))
    for name in EVALUATION:
        rows = pair_rows(4, start=8)
        write_rows(folder / name, [rows[0] | {"id": "ID"}, *rows[1:]])
    for name, kind in {"OTHER": "explicit", "rm-padded": "explicit", "DPO": "implicit"}.items():
        (folder / name).symlink_to(folder / "runs" / kind / "reward_model")
    (folder / "mine.jinja").write_text(TEMPLATE, encoding="utf-8")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    return folder


@pytest.fixture
def desk(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of that folder as the working directory; registries are as they were afterwards."""
    folder = tmp_path / "desk"
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REWARDGAP_CACHE", str(folder / "cache"))
    kept = [(registry, registry.copy()) for registry in (DATA_CHECKS, MODEL_CHECKS, MEASURES, KINDS)]
    yield folder
    for registry, before in kept:
        registry.clear()
        (registry.update if isinstance(registry, dict) else registry.extend)(before)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page, desk):
    run_page(page)
