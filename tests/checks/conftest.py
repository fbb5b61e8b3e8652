"""Data and runs that are checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prose import Rows
from tiny import tiny_model
from toy import train_toy, write_rows

from rewardgap.checks.data import check_data
from rewardgap.checks.findings import CheckReport
from rewardgap.configs.checks import CheckDataConfig


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., CheckReport]:
    """The report on rows of training data and of evaluation sets."""

    def run(train: Rows, evaluation: dict[str, Rows] | None = None, **keys: Any) -> CheckReport:
        files = {
            name: write_rows(tmp_path / f"{name}.jsonl", rows)
            for name, rows in (evaluation or {}).items()
        }
        specs = [write_rows(tmp_path / "pairs.jsonl", train)]
        return check_data(CheckDataConfig(train=specs, eval=files, **keys))

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A folder of a toy run of a kind, and its initial model."""

    def make(kind: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(kind)
        initial = tiny_model(folder / "initial")
        return train_toy(folder, initial, kind=kind).folder, initial

    return make
