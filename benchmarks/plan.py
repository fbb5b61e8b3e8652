"""`python -m benchmarks.plan --models FOLDER…`: does training take what `rewardgap plan` says?

Every setting is planned and then trained for a few steps in a process of its own, whose peak of
resident memory is compared with the plan's, with and without what the program takes by itself; the
tokens of the plan are compared with those of the log. Then the time of the whole training is
compared with what `plan --calibrate` says in the same process. A setting that has been measured is
not measured again: the same command goes on after an interrupt.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rewardgap.configs.planning import PlanConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.prepared import PreparedData
from rewardgap.evaluation.text import markdown_table
from rewardgap.io.files import read_json, write_text
from rewardgap.io.run_folder import Run
from rewardgap.planning.plan import plan
from rewardgap.training.loop import fit
from rewardgap.training.train import add_references, build, open_data, sole_training, steps_of

MIB = 2**20
RECORDS = 12
SETTINGS: tuple[dict[str, Any], ...] = (
    {"kind": "explicit"},
    {"kind": "explicit", "gradient_checkpointing": True},
    {"kind": "explicit", "dtype": "bfloat16"},
    {"kind": "implicit"},
    {"kind": "implicit", "token_budget": 1024, "max_length": 512},
    {"kind": "implicit", "frozen_backbone": True},
    {"kind": "generative"},
    {"kind": "generative", "gradient_checkpointing": True, "token_budget": 8192},
    {"kind": "explicit", "adapter": "lora"},
    {"kind": "implicit", "adapter": "lora", "token_budget": 1024, "max_length": 512},
)
SHARED = {
    "batch_size": 4,
    "max_steps": 3,
    "max_length": 1024,
    "device": "cpu",
    "checkpoint_steps": 0,
}
TITLES = (
    "setting",
    "measured",
    "planned",
    "",
    "without the program",
    "tokens",
    "seconds",
    "as planned",
)


@dataclass(frozen=True)
class Compared:
    """What was planned and what was measured: bytes of memory, and tokens of all steps.

    Attributes:
        program: What the program takes by itself, of both.
        planned: What training takes, as planned.
        peak: Peak of resident memory of the process.
        tokens_planned: Tokens of all steps, as planned.
        tokens_logged: The same, from the rates in the log.
        seconds: What the training has taken, without loading, tokenising and saving.
        seconds_planned: The same, as planned on this machine.
    """

    program: int
    planned: int
    peak: int
    tokens_planned: int
    tokens_logged: int
    seconds: float
    seconds_planned: float

    @property
    def row(self) -> tuple[str, ...]:
        """The figures as a row of a table."""
        planned, rest = self.program + self.planned, self.peak - self.program
        tokens = "equal" if self.tokens_planned == self.tokens_logged else "DIFFERENT"
        return (
            *(f"{size / MIB:,.0f}" for size in (self.peak, planned)),
            f"{planned / self.peak - 1:+.0%}",
            f"{self.planned / rest - 1:+.0%}",
            f"{self.tokens_planned:,} ({tokens})",
            f"{self.seconds:.1f}",
            f"{self.seconds_planned / self.seconds - 1:+.0%}",
        )


def main() -> None:
    """Measure every setting that is not measured, and print the table."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--models", type=Path, nargs="+", required=True, help="folders of language models")
    add("--data", required=True, help="preference pairs, of which the first are taken")
    add("--out", type=Path, default=Path("runs/plan.json"), help="JSON of all figures")
    arguments = parser.parse_args()
    measured = read_json(arguments.out) if arguments.out.exists() else {}
    for model in arguments.models:
        for setting in SETTINGS:
            name = " ".join([model.name, *_words(setting)])
            if name not in measured:
                shared = {"model": str(model), "train": f"{arguments.data}?limit={RECORDS}"}
                measured[name] = measure_apart(SHARED | setting | shared)
                write_text(arguments.out, json.dumps(measured, indent=1))
            print(name, *Compared(**measured[name]).row, sep="  ", flush=True)
    print(markdown_table([TITLES, *((key, *Compared(**row).row) for key, row in measured.items())]))


def measure_apart(values: Mapping[str, Any]) -> Any:
    """Return what `compare` says in a new process."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "training.yaml"
        paths = {"out": str(Path(folder) / "run"), "cache": str(Path(folder) / "cache")}
        file.write_text(json.dumps({**values, **paths}), "utf-8")  # JSON is YAML, too
        words = [sys.executable, "-c", f"from {__spec__.name} import compare; compare()", str(file)]
        ended = subprocess.run(words, env=os.environ, stdout=subprocess.PIPE, check=True)
        return json.loads(ended.stdout.splitlines()[-1])


def compare() -> None:
    """Plan the training of a file, take its steps, and print what was planned and measured."""
    file = sys.argv[1]
    (planned,) = plan(PlanConfig(file=file)).trainings
    config = TrainConfig(**read_json(Path(file)))
    seconds = train(config)
    log = [json.loads(line) for line in Run(Path(config.out)).log.read_text("utf-8").splitlines()]
    tokens = sum(row["tokens_per_second"] / row["pairs_per_second"] for row in log)
    (calibrated,) = plan(PlanConfig(file=file, calibrate=True)).trainings  # takes memory, so last
    compared = Compared(
        program=planned.needs[0].program,
        planned=planned.needs[0].memory.total,
        peak=max(row["peak_memory"] for row in log),
        tokens_planned=planned.work.tokens_trained,
        tokens_logged=round(tokens * config.batch_size),
        seconds=seconds,
        seconds_planned=calibrated.needs[0].seconds or 0.0,
    )
    print(json.dumps(asdict(compared)))


def train(config: TrainConfig) -> float:
    """Train, and return the seconds of references and steps; nothing is saved or scored."""
    shared = PreparedData()
    shared.check(config)
    with sole_training(config, shared) as settings:
        data = open_data(settings, shared)
        model, steps = build(config, data), steps_of(config, data)
        began = time.perf_counter()
        training, held_out = add_references(settings, model, data)
        fit(model, training, steps, held_out, settings)
        return time.perf_counter() - began


def _words(setting: Mapping[str, Any]) -> Sequence[str]:
    """Return a setting in words: the kind, and what is set beside it."""
    kind, *rest = setting.items()
    return [kind[1], *(key if value is True else f"{key} {value}" for key, value in rest)]


if __name__ == "__main__":
    main()
