"""A toy experiment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy import pair_rows, write_rows
from toy_experiment import settings

from rewardgap.configs.experiments import RunConfig

Config = Callable[..., RunConfig]


@pytest.fixture
def config(folders: Callable[..., Path], tmp_path: Path) -> Config:
    """An experiment of two kinds and two seeds, with changes."""
    write_rows(tmp_path / "train.jsonl", pair_rows(12))
    write_rows(tmp_path / "test.jsonl", pair_rows(6, start=12))
    values: dict[str, Any] = {
        "name": "toy",
        "claim": "It can be learnt.",
        "models": [str(folders("llama"))],
        "kinds": ["explicit", "implicit"],
        "seeds": [0, 1],
        "train": {"name": "yes", "local": "$data_dir/train.jsonl"},
        "eval": {"test": {"category": "in-distribution", "local": "$data_dir/test.jsonl"}},
        "settings": settings(tmp_path),
    }

    def write(out: str = "grid", changes: dict[str, Any] | None = None, **flags: Any) -> RunConfig:
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump(values | (changes or {})))
        place = str(tmp_path / out)
        return RunConfig(experiment=str(path), out=place, data_dir=str(tmp_path), **flags)

    return write
