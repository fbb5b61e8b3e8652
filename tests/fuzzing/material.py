"""What the fuzzer damages: a tiny model, data, runs of it, and an experiment's results."""

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import grids
import yaml
from tiny import tiny_model
from toy import configure, pair_rows, result, several_rows, write_rows

import rewardgap
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

LAYOUTS: tuple[dict[str, Any], ...] = (
    {
        "prompt": [{"role": "user", "content": "hi"}],
        "chosen": [{"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    },
    {
        "chosen": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ],
        "rejected": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "b"},
        ],
    },
)


@dataclass(frozen=True)
class Material:
    """Files in a folder; every part is made when it is first asked for."""

    folder: Path

    @cached_property
    def model(self) -> Path:
        """A model directory."""
        return tiny_model(self.folder / "model")

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template of the model."""
        return ChatTemplate.load(self.model)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of data in several layouts."""
        return [*pair_rows(4), *several_rows(3), *LAYOUTS]

    def config(self, kind: str, **changes: Any) -> TrainConfig:
        """The configuration of a run."""
        out = str(self.folder / kind)
        settings = {"out": out, "checkpoint_steps": 2, "epochs": 1, **changes}
        return configure(self.folder, self.model, kind=kind, **settings)

    @cached_property
    def run(self) -> Run:
        """A finished run of an implicit kind."""
        return Run(train(self.config("implicit")))

    @cached_property
    def interrupted(self) -> Run:
        """A run that was killed after its last step but one; its folder is to be copied."""
        run = Run(train(self.config("explicit")))
        run.metrics.unlink()
        for name in ("scores", "reward_model"):
            shutil.rmtree(run.folder / name)
        return run

    @cached_property
    def whole(self) -> Run:
        """The same run, finished; its folder is to be copied."""
        return Run(train(self.config("explicit", out=str(self.folder / "whole"))))

    @cached_property
    def results(self) -> Any:
        """What every resumed copy of `interrupted` or `whole` must have in the end."""
        return result(self.whole)

    @cached_property
    def rewards(self) -> list[float]:
        """The rewards that every copy of `run` must give, see `targets.run_folders`."""
        scorer = rewardgap.load(str(self.run.folder), cache=str(self.folder / "cache"))
        return scorer.score("What is two plus two?", ["Four.", "Five.\n"])

    @cached_property
    def grid(self) -> Path:
        """An experiment's folder with all that a report reads."""
        plan = replace(grids.REWORDED, kinds=("explicit", "implicit"), seeds=(0,), records=6)
        folder = grids.write_grid(self.folder / "grid", plan)
        numbers = {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}, "loss": 0.3}
        forecast = {name: {"explicit": numbers} for name in plan.sets}
        (folder / "forecasts/m").mkdir(parents=True)
        (folder / "forecasts/m/forecast.json").write_text(json.dumps(forecast))
        share = {name: {"correct": 0.5, "initial": None, "n": 4} for name in plan.sets}
        (folder / "m/implicit/seed-0/generations.json").write_text(json.dumps(share))
        return folder

    @cached_property
    def experiment(self) -> Path:
        """An experiment's file."""
        train = write_rows(self.folder / "e-train.jsonl", pair_rows(4))
        values = {
            "name": "toy",
            "claim": "It can be learnt.",
            "models": [str(self.model)],
            "kinds": ["explicit", "implicit"],
            "seeds": [0, 1],
            "train": {"name": "yes", "data": train},
            "eval": {
                "test": {"category": "in-distribution", "data": train},
                "other": {"category": "token-level", "data": train, "shift_of": "test"},
            },
            "settings": {"epochs": 2, "learning_rate": 1e-3, "cache": str(self.folder / "cache")},
            "variations": [{"epochs": 3}, {"beta": 0.5, "kinds": ["implicit"]}],
            "generate": [],
            "forecast": True,
            "train_rows": 3,
            "profiles": {"small": {"seeds": [0]}},
        }
        path = self.folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(values))
        return path
