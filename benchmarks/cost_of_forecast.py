"""What a forecast costs beside scoring the same rows once and training both kinds on them.

    python -m benchmarks.cost_of_forecast --model MODEL [--train SPEC] [--eval SPEC ...]

Every side runs in this process with an empty cache, one after the other, on pairs of at most 1,024
tokens, and is timed from start to end. Training is one epoch by each kind, with all that it takes,
and then as much again for each of the paper's other epochs as the optimiser's steps took.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.load import load as load_records
from rewardgap.forecasting.forecast import forecast
from rewardgap.scoring.scorer import load
from rewardgap.training.loop import peak_memory
from rewardgap.training.train import train

KINDS = ("explicit", "implicit")
EPOCHS = 5
PAIRS = 32
SETS = (
    *("rewardmath_test", "rewardbench_math_test", "rewardbench_code_test"),
    *("uf_test", "uf_paraphrase_test", "uf_french_test", "uf_spanish_test"),
)


def main() -> None:
    """Measure and print."""
    arguments = _parse()
    named = {Path(spec.partition("?")[0]).stem: spec for spec in arguments.eval}
    settings = {"max_length": 1024, "identical_pairs": "drop"}
    with TemporaryDirectory() as folder:
        score = _seconds(lambda: _score(arguments, list(named.values()), folder))
        print(f"scoring once (log-probabilities): {score:.0f} s", flush=True)
        config = ForecastConfig(
            model=arguments.model,
            kinds=list(KINDS),
            train=arguments.train,
            eval=named,
            out=f"{folder}/theory",
            cache=f"{folder}/forecast-cache",
            batch_size=PAIRS,
            epochs=EPOCHS,
            budget=0,
            **settings,
        )
        theory = _seconds(lambda: forecast(config))
        peak = peak_memory(torch.device("cpu")) / 2**30
        print(f"theory: {theory:.0f} s, {theory / score:.2f} of scoring; peak {peak:.2f} GiB")
        whole = replace(config, out=f"{folder}/forecast", budget=None)
        ahead = theory + _seconds(lambda: forecast(whole))  # which takes theory from the cache
        training = _seconds(lambda: [_train(arguments, kind, folder, settings) for kind in KINDS])
        steps = sum(_steps(Path(folder) / kind) for kind in KINDS)
        training += (EPOCHS - 1) * steps
        print(
            f"training, {EPOCHS} epochs of both: {training:.0f} s, of which the optimiser's steps "
            f"{EPOCHS * steps:.0f} s"
        )
        for name, seconds in (("theory", theory), ("forecast", ahead)):
            shares = seconds / training, seconds / (EPOCHS * steps)
            print(f"{name} / training: {shares[0]:.3f}, of the steps {shares[1]:.3f}")


def _parse() -> argparse.Namespace:
    data = Path(os.environ.get("REWARDGAP_SHARED") or ".") / "data"
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost_of_forecast",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="a causal language model")
    add("--train", default=f"{data}/rewardmath_train.jsonl?limit=1000", help="training pairs")
    rows = [f"{data}/{name}.jsonl?limit=200" for name in SETS]
    add("--eval", nargs="+", default=rows, help="evaluation sets")
    return parser.parse_args()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _score(arguments: argparse.Namespace, sets: list[str], folder: str) -> None:
    """One forward pass that gives every response its log-probability."""
    scorer = load(arguments.model, kind="implicit-no-reference", max_length=1024, cache=folder)
    for spec in (arguments.train, *sets):
        scorer.score_records(load_records(spec, "drop"))


def _train(arguments: argparse.Namespace, kind: str, folder: str, settings: dict) -> None:
    """One epoch."""
    config = TrainConfig(
        model=arguments.model,
        kind=kind,
        train=arguments.train,
        out=f"{folder}/{kind}",
        cache=folder,
        epochs=1,
        batch_size=PAIRS,
        checkpoint_steps=0,
        **settings,
    )
    train(config)


def _steps(run: Path) -> float:
    """Seconds of the optimiser's steps of a run."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return sum(PAIRS / row["pairs_per_second"] for row in rows)


if __name__ == "__main__":
    main()
