"""The README.md of a trained reward model: what it is, how it is loaded, how accurate it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rewardgap.configs.training import TrainConfig
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.measures import MEASURES
from rewardgap.evaluation.text import format_interval
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run

Summaries = Mapping[str, Mapping[str, Any]]
"""What `metrics.json` holds, by evaluation set."""

SHOWN = ("epochs", "batch_size", "learning_rate", "schedule", "beta", "max_length", "seed")
"""Settings of the training that the card names."""


def write_model_card(run: Run, config: TrainConfig, summaries: Summaries) -> None:
    """Write the card beside a run's model, in one step.

    Raises:
        UserError: it cannot be written.
    """
    text = model_card(config, summaries, _automatic_class(run.reward_model))
    write_text(run.reward_model / "README.md", text)


def model_card(config: TrainConfig, summaries: Summaries, automatic_class: str | None) -> str:
    """Return the card as Markdown under the metadata that the Hugging Face hub reads.

    Args:
        config: How the model was trained.
        summaries: What it reached on the evaluation sets; there may be none.
        automatic_class: Class of transformers that loads it; None where no model was trained.
    """
    front = yaml.safe_dump(_metadata(config, summaries), sort_keys=False, allow_unicode=True)
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}"
        for key in SHOWN
        if (value := getattr(config, key)) is not None
    )
    parts = [
        f"---\n{front}---",
        f"# {_name(config)}",
        f"A reward model of kind *{config.kind}*, trained from `{_base(config)}` on "
        f"`{_joined(config.train)}` ({settings}). It says which of several responses to a prompt "
        "is better; only differences between rewards for the same prompt have a meaning.",
        *_usage(automatic_class),
        *_evaluation(summaries),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(config: TrainConfig, summaries: Summaries) -> dict[str, Any]:
    results = [
        {
            "task": {"type": "reward-modeling", "name": "Preference ranking"},
            "dataset": {"type": _data(config.eval.get(name, name)), "name": name},
            "metrics": [
                {"type": metric, "name": metric, "value": round(summary[metric]["value"], 4)}
                for metric in (measure.name for measure in MEASURES if measure.is_column)
                if metric in summary
            ],
        }
        for name, summary in summaries.items()
    ]
    return {
        "library_name": "transformers",
        "base_model": _base(config),
        "tags": ["reward-model", "rewardgap", config.kind],
        "model-index": [{"name": _name(config), "results": results}],
    }


def _name(config: TrainConfig) -> str:
    return f"{Path(config.model).name}-{config.kind}-reward-model"


def _base(config: TrainConfig) -> str:
    """Return a hub id as it is, and of a folder the last name, for its path is private."""
    return Path(config.model).name if Path(config.model).expanduser().is_dir() else config.model


def _joined(names: str | list[str]) -> str:
    return _data(names) if isinstance(names, str) else ", ".join(map(_data, names))


def _data(spec: str) -> str:
    """Return a data specification without options, and of a path the last name alone."""
    name = spec.partition("?")[0]
    return Path(name).name if Path(name).expanduser().exists() else name


def _automatic_class(folder: Path) -> str | None:
    """Return the class of transformers that a saved model's configuration asks for."""
    path = folder / "config.json"
    if not path.exists():
        return None
    architectures = json.loads(path.read_text(encoding="utf-8")).get("architectures") or [""]
    is_classifier = architectures[0].endswith("ForSequenceClassification")
    return "AutoModelForSequenceClassification" if is_classifier else "AutoModelForCausalLM"


def _usage(automatic_class: str | None) -> list[str]:
    lines = [
        "```python",
        "import rewardgap",
        "",
        'model = rewardgap.load("this folder")',
        'model.score("What is two plus two?", ["Four.", "Five."])  # raw rewards',
        "```",
    ]
    loaded = f"Plain transformers loads it as `{automatic_class}`." if automatic_class else ""
    return ["\n".join(lines), loaded] if loaded else ["\n".join(lines)]


def _evaluation(summaries: Summaries) -> list[str]:
    """Return the table of all sets: the model, content-blind baselines, further measures."""
    if not summaries:
        return []
    rules = list(
        dict.fromkeys(rule for summary in summaries.values() for rule in summary["baselines"])
    )
    columns = [measure for measure in MEASURES if measure.is_column]
    further = [measure for measure in MEASURES if not measure.is_column]
    headings = ["set", "records", *(measure.title for measure in columns)]
    headings += [f"({_words(rule)})" for rule in rules] + [measure.title for measure in further]
    lines = [_row(headings), _row(["---", *["--:"] * (len(headings) - 1)])]
    for name, summary in summaries.items():
        cells = [name, str(summary["n"])]
        cells += [_interval(summary.get(measure.name)) for measure in columns]
        cells += [_value(summary["baselines"].get(rule)) for rule in rules]
        lines.append(_row([*cells, *(_value(summary.get(measure.name)) for measure in further)]))
    meanings = "; ".join(f"{measure.title}: {measure.meaning}" for measure in (*columns, *further))
    return [
        "## Evaluation",
        "\n".join(lines),
        f"{meanings[0].upper()}{meanings[1:]}. Brackets: 95 % intervals over records. Columns in "
        "parentheses: the accuracy of content-blind baselines.",
    ]


def _words(rule: str) -> str:
    return rule.replace("_", " ")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _interval(figures: Mapping[str, float] | None) -> str:
    return "–" if figures is None else format_interval(Interval(**figures))


def _value(figures: Mapping[str, float] | None) -> str:
    return "–" if figures is None else f"{figures['value']:.3f}"
