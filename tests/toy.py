"""A separable toy data set and training runs on it, each a fraction of a second long."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardgap.configs.training import TrainConfig
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

PROMPTS = ("hi", "two plus two?", "is it so?", "would you say the fox is quick?", "really?")
YES = ("yes, sure", "yes, certainly", "yes, I like to help people")
TIMINGS = ("pairs_per_second", "tokens_per_second", "peak_memory")
NO = ("no, never", "no, not really", "no, that is not what I would say")


def pair_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Pairs whose chosen response says yes and whose rejected one says no."""
    return [
        {
            "id": f"pair-{i}",
            "prompt": f"{PROMPTS[i % 5]} {i}",
            "chosen": YES[i % 3],
            "rejected": NO[i % 2],
        }
        for i in range(start, start + count)
    ]


def several_rows(count: int) -> list[dict[str, Any]]:
    """Records of one or two chosen and one, two or three rejected responses."""
    return [
        {
            "id": f"several-{i}",
            "prompt": PROMPTS[i % 5] * (1 + i % 4),
            "chosen": list(YES[: 1 + i % 2]),
            "rejected": list(NO[: 1 + i % 3]),
        }
        for i in range(count)
    ]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as JSONL and return the path as a data specification."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file: of a log, of a score file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def configure(folder: Path, model: Path, **changes: Any) -> TrainConfig:
    """A run in `folder`/out: 12 pairs, 4 a step, 3 epochs, one evaluation set of 6 pairs."""
    settings: dict[str, Any] = {
        "model": str(model),
        "kind": "explicit",
        "train": write_rows(folder / "train.jsonl", pair_rows(12)),
        "eval": {"test": write_rows(folder / "test.jsonl", pair_rows(6, start=12))},
        "out": str(folder / "out"),
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "device": "cpu",
        "cache": str(folder / "cache"),
    }
    return TrainConfig(**settings | changes)


def eight_steps(folder: Path) -> dict[str, Any]:
    """Settings of a run of eight steps on records of two to five responses."""
    return {
        "train": write_rows(folder / "several.jsonl", several_rows(8)),
        "epochs": 2,
        "batch_size": 5,
        "max_steps": 8,
        "learning_rate": 1e-3,
        "dtype": "float32",
        "checkpoint_steps": 0,
    }


def train_toy(folder: Path, model: Path, **changes: Any) -> Run:
    """Train as `configure` says."""
    return Run(train(configure(folder, model, **changes)))


def flags(config: TrainConfig) -> list[str]:
    """A configuration as words of the command line."""
    values = {key: value for key, value in config.settings().items() if value not in (None, [])}
    values |= {f"eval.{name}": data for name, data in values.pop("eval").items()}
    return ["train", *(word for key, value in values.items() for word in (f"--{key}", str(value)))]


def result(run: Run) -> tuple[bytes, list[str], str, list[dict[str, float]]]:
    """Weights, scores, metrics and log of a run, without what depends on the time."""
    log = [{k: v for k, v in row.items() if k not in TIMINGS} for row in read_rows(run.log)]
    scores = [path.read_text() for path in sorted((run.folder / "scores").iterdir())]
    weights = (run.reward_model / "model.safetensors").read_bytes()
    return weights, scores, run.metrics.read_text(), log
