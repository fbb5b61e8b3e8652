"""How right forecasts are: the calibration suite.

    python -m benchmarks.forecast_suite --data DIR --model NAME=FOLDER ... [--case NAME ...]

Every case forecasts all kinds from a model, trains them, and compares; what is done is not done
again, and the results of a case go into `benchmarks/forecast_suite.json` as soon as it is done, so
that the table fills up case by case. Prints the table, puts it into docs/forecast.md, and says what
all cases together tell: the mean and the largest error, against the mean over seeds and against the
model with the forecast's own seed, how many intervals hold the measured accuracy, how many
sentences were true, and how often the better kind was named rightly where training itself tells
the kinds apart. `--forecast-again` keeps what was trained, for forecasts that are made in another
way now.
"""

import argparse
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.documentation import write_tables
from rewardgap.configs.experiments import RunConfig
from rewardgap.evaluation.accuracy import prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.comparisons import SIGNIFICANCE, compare_gains
from rewardgap.evaluation.scores import read_scores
from rewardgap.evaluation.text import align_columns
from rewardgap.experiments.run import run
from rewardgap.forecasting.prediction import ERROR
from rewardgap.io.files import write_text
from rewardgap.io.grid_folder import GridFolder

RESULTS = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parents[1] / "docs" / "forecast.md"
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
QUANTILE = float(norm.ppf(0.95))
"""Deviations to either side of the intervals of 90 % that are counted."""
LEAST, MOST = 1e-6, 5.0
"""Between these an error is looked for."""


@dataclass(frozen=True)
class Case:
    """One experiment from one initial model."""

    model: str
    experiment: str
    options: Mapping[str, Any]


SEEDS = [0, 1, 2]
SMALL = {"profile": "small", "seeds": SEEDS}
SHORT = {"epochs": 10, "learning_rate": 1e-5, "batch_size": 16, "dtype": "bfloat16"}
LONG_ROWS = {"epochs": 2, "learning_rate": 2e-5, "batch_size": 8, "dtype": "bfloat16"}
REAL = {"kinds": ["explicit", "implicit"], "seeds": [0], "settings": SHORT}
FEW = {"profile": "small", "train_rows": 100, "eval_rows": 50, "settings": LONG_ROWS}
THREE = {"seeds": SEEDS, "settings": SHORT | {"eval_steps": 0, "checkpoint_steps": 0}}
MANY = {
    "profile": "small",
    "kinds": ["explicit", "implicit"],
    "seeds": SEEDS,
    "eval_rows": 200,
    "settings": LONG_ROWS | {"token_budget": 8192, "checkpoint_steps": 0},
}
CASES = {
    "chat-4m persona": Case("chat-4m", "persona", SMALL),
    "chat-4m agreement": Case("chat-4m", "demo", {"seeds": SEEDS}),
    "chat-4m math": Case("chat-4m", "math", SMALL),
    "chat-4m math, 400 pairs": Case("chat-4m", "math", SMALL | {"train_rows": 400, "seeds": [0]}),
    "chat-4m chat": Case("chat-4m", "chat", SMALL),
    "smollm2-135m persona": Case("smollm2-135m", "persona", REAL),
    "smollm2-135m math": Case("smollm2-135m", "math", REAL | FEW),
    "gemma3-270m persona": Case("gemma3-270m", "persona", REAL),
    "smollm2-135m persona, three kinds": Case("smollm2-135m", "persona", THREE),
    "smollm2-135m agreement": Case("smollm2-135m", "demo", THREE),
    "smollm2-135m math, 500 pairs": Case("smollm2-135m", "math", MANY | {"train_rows": 500}),
    "smollm2-135m math, 1000 pairs": Case("smollm2-135m", "math", MANY | {"train_rows": 1000}),
    "smollm2-135m chat": Case("smollm2-135m", "chat", MANY | {"train_rows": 300}),
}
"""Cases with several seeds of SmolLM2 are for a GPU: `benchmarks.gpu_jobs` runs them."""


def main() -> None:
    """Run the cases that are asked for, and print what all results say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast_suite")
    parser.add_argument("--data", help="folder of prepared local files")
    parser.add_argument("--model", action="append", default=[], help="NAME=FOLDER")
    parser.add_argument("--case", action="append", choices=list(CASES), default=[])
    parser.add_argument("--out", default="runs/forecast-suite", help="folder of the runs")
    parser.add_argument(
        "--forecast-again",
        action="store_true",
        help="forecast cases whose results are there, and keep what was trained",
    )
    arguments = parser.parse_args()
    models = dict(text.split("=", 1) for text in arguments.model)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.case:
        config = configure(name, models, arguments.data, Path(arguments.out))
        if arguments.forecast_again:
            results[name] = forecast_again(config, results[name])
        else:
            run(config)
            results[name] = compare(Path(config.out))
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_tables(DOCS, markdown(results))
    print(table(results))
    print(json.dumps(summary(results), indent=1))


def configure(name: str, models: Mapping[str, str], data: str | None, out: Path) -> RunConfig:
    """Return the configuration of a case."""
    case = CASES[name]
    return RunConfig(
        experiment=str(EXPERIMENTS / f"{case.experiment}.yaml"),
        models=[models[case.model]],
        out=str(out / folder_of(name)),
        data_dir=data,
        forecast=True,
        **case.options,
    )


def folder_of(name: str) -> str:
    """Return the name of a case's folder."""
    return name.replace(",", "").replace(" ", "-")


def forecast_again(config: RunConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a case with new forecasts, and the accuracies that were measured."""
    run(replace(config, cells=[f"forecasts/{Path(model).name}" for model in config.models or ()]))
    (folder,) = GridFolder(Path(config.out)).forecasts()
    forecast = json.loads((folder / "forecast.json").read_text())
    return {
        name: {
            "separated": of_set["separated"],
            "kinds": {
                kind: entry | _forecast(forecast[name][kind], of_set["kinds"])
                for kind, entry in of_set["kinds"].items()
            },
        }
        for name, of_set in known.items()
    }


def compare(out: Path) -> dict[str, Any]:
    """Return forecast and measured accuracies of a grid, by set and kind.

    Of a kind, all runs count that have scored every set; kinds without one are left out.
    """
    (folder,) = GridFolder(out).forecasts()
    forecast = json.loads((folder / "forecast.json").read_text())
    runs: dict[str, list[Path]] = {}
    for path in sorted(out.glob("*/*/seed-*")):
        if all((path / "scores" / f"{name}.jsonl").exists() for name in forecast):
            runs.setdefault(path.parent.name, []).append(path)
    return {name: _compare_set(name, kinds, runs) for name, kinds in forecast.items()}


def _compare_set(
    name: str, kinds: Mapping[str, Any], runs: Mapping[str, list[Path]]
) -> dict[str, Any]:
    rows = {
        kind: [read_scores(path / "scores" / f"{name}.jsonl") for path in paths]
        for kind, paths in runs.items()
    }
    right = {
        kind: np.mean([record_accuracies([row.scores for row in of_run]) for of_run in of_kind], 0)
        for kind, of_kind in rows.items()
    }
    clusters = prompt_clusters(next(iter(rows.values()))[0])
    separated = [
        [a, b] if right[a].mean() > right[b].mean() else [b, a]
        for a, b in combinations(right, 2)
        if compare_gains(right[a] - right[b], clusters).mcnemar_p < SIGNIFICANCE
    ]
    return {
        "separated": separated,
        "kinds": {
            kind: {
                **_forecast(figures, rows),
                "measured": [
                    float(record_accuracies([row.scores for row in of_run]).mean())
                    for of_run in rows[kind]
                ],
                "records": len(clusters),
            }
            for kind, figures in kinds.items()
            if kind in rows
        },
    }


def _forecast(figures: Mapping[str, Any], kinds: Collection[str]) -> dict[str, Any]:
    """Return what a forecast says of a kind on a set, beside the others of these kinds."""
    return {
        "forecast": figures["accuracy"]["value"],
        "z": figures["rehearsal"]["z"],
        "deviation": figures["rehearsal"]["deviation"],
        "theory": figures["theory"]["value"],
        "better_than": [other for other in figures["better_than"] if other in kinds],
        "fails": figures["fails"],
    }


def _entries(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for case, sets in results.items():
        for name, of_set in sets.items():
            for kind, figures in of_set["kinds"].items():
                yield case, name, kind, figures


def table(results: Mapping[str, Any]) -> str:
    """Return a line for every case, set and kind."""
    lines = [("case", "set", "kind", "forecast", "theory", "trained", "errors away")]
    for case, name, kind, figures in _entries(results):
        measured = float(np.mean(figures["measured"]))
        lines.append(
            (
                *(case, name, kind, f"{figures['forecast']:.3f}", f"{figures['theory']:.3f}"),
                *(f"{measured:.3f}", f"{residuals(figures).mean():+.1f}"),
            )
        )
    return align_columns(lines, right=range(3, 7))


def markdown(results: Mapping[str, Any]) -> str:
    """Return both tables as they stand in the documentation."""
    lines = ["| case | set | forecast, then trained, by kind |", "|---|---|---|"]
    for case, sets in results.items():
        for name, of_set in sets.items():
            cells = "; ".join(
                f"{kind} {figures['forecast']:.2f}, {np.mean(figures['measured']):.2f}"
                for kind, figures in of_set["kinds"].items()
            )
            lines.append(f"| {case} | {name} | {cells} |")
    by_model = summary(results)
    lines += ["", f"| | {' | '.join(by_model)} |", "|---|" + "---|" * len(by_model)]
    for figure in by_model["all"]:
        values = " | ".join(str(of_model.get(figure, "")) for of_model in by_model.values())
        lines.append(f"| {figure} | {values} |")
    return "\n".join(lines) + "\n"


def residuals(figures: Mapping[str, Any]) -> FloatArray:
    """Return by how many standard deviations a forecast is too low for each trained model."""
    return _apart(figures) / figures["deviation"]


def _apart(figures: Mapping[str, Any]) -> FloatArray:
    """Return by how much a forecast is too low for each trained model, on the probit scale."""
    records = figures["records"]
    probits = norm.ppf((np.array(figures["measured"]) * records + 0.5) / (records + 1))
    return np.asarray(probits - figures["z"])


def calibrate(results: Mapping[str, Any]) -> float:
    """Return the forecast's own error on the probit scale that explains these results.

    With it the squares of the residuals have the mean 1; none where records and seeds explain all.
    """
    figures = [entry for *_, entry in _entries(results)]
    squares = np.concatenate([_apart(entry) ** 2 for entry in figures])
    counts = [len(entry["measured"]) for entry in figures]
    variances = np.repeat([entry["deviation"] ** 2 - ERROR**2 for entry in figures], counts)

    def excess(error: float) -> float:
        return float((squares / (variances + error**2)).mean() - 1)

    return float(brentq(excess, LEAST, MOST)) if excess(LEAST) > 0 else 0.0


def held_out(results: Mapping[str, Any]) -> float:
    """Return the share of intervals that hold if each case's error is that of all other cases."""
    held = []
    for case, sets in results.items():
        error = calibrate({other: of for other, of in results.items() if other != case})
        for *_, entry in _entries({case: sets}):
            variance = entry["deviation"] ** 2 - ERROR**2 + error**2
            held.extend(_apart(entry) ** 2 <= QUANTILE**2 * variance)
    return float(np.mean(held))


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all cases say, by model and together."""
    models = dict.fromkeys(CASES[case].model for case in results)
    parts = {
        model: {case: sets for case, sets in results.items() if CASES[case].model == model}
        for model in models
    }
    summaries = {name: _summary(part) for name, part in {**parts, "all": results}.items()}
    if len(results) > 1:
        share = round(held_out(results), 3)
        summaries["all"]["the same, with the error of the other cases alone"] = share
        summaries["all"]["error of the forecast itself"] = round(calibrate(results), 3)
    return summaries


def _summary(results: Mapping[str, Any]) -> dict[str, Any]:
    figures = [entry for *_, entry in _entries(results)]
    errors = {
        source: [abs(entry[source] - np.mean(entry["measured"])) for entry in figures]
        for source in ("forecast", "theory")
    }
    of_its_seed = [abs(entry["forecast"] - entry["measured"][0]) for entry in figures]
    held = np.concatenate([abs(residuals(entry)) <= QUANTILE for entry in figures])
    squares = np.concatenate([_apart(entry) ** 2 for entry in figures])
    spoken, told = list(_spoken(results)), list(_told(results))
    return {
        "forecasts": len(figures),
        "trained models they are of": len(held),
        **{f"mean error, {name}": round(float(np.mean(of)), 3) for name, of in errors.items()},
        **{f"largest error, {name}": round(float(max(of)), 3) for name, of in errors.items()},
        "mean error, forecast, of the model with its seed": round(float(np.mean(of_its_seed)), 3),
        "largest error, forecast, of the model with its seed": round(max(of_its_seed), 3),
        "intervals of 90 % that hold": round(float(np.mean(held)), 3),
        "error on the probit scale": round(float(np.sqrt(np.mean(squares))), 3),
        "sentences that are true": f"{sum(spoken)} of {len(spoken)}",
        "sentences that could have been said": _possible(results),
        "better kind named rightly": f"{sum(told)} of {len(told)}",
    }


def _spoken(results: Mapping[str, Any]) -> Iterator[bool]:
    """Yield whether each sentence that was said is true of each trained model, seed by seed."""
    for sets in results.values():
        for of_set in sets.values():
            measured = {kind: entry["measured"] for kind, entry in of_set["kinds"].items()}
            for kind, entry in of_set["kinds"].items():
                for other in entry["better_than"]:
                    yield from (a > b for a, b in zip(measured[kind], measured[other], strict=True))
                if entry["fails"]:
                    yield from (accuracy < 0.5 for accuracy in measured[kind])


def _possible(results: Mapping[str, Any]) -> int:
    """Return how many sentences there could be of two kinds or of one, a set and a seed."""
    return sum(
        len(next(iter(of_set["kinds"].values()))["measured"])
        * (len(of_set["kinds"]) * (len(of_set["kinds"]) + 1) // 2)
        for sets in results.values()
        for of_set in sets.values()
    )


def _told(results: Mapping[str, Any]) -> Iterator[bool]:
    """Yield whether the better kind is named rightly, where training tells the kinds apart."""
    for sets in results.values():
        for of_set in sets.values():
            for better, worse in of_set["separated"]:
                yield of_set["kinds"][better]["z"] > of_set["kinds"][worse]["z"]


if __name__ == "__main__":
    main()
