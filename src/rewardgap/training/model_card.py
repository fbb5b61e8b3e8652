"""The README.md of a trained reward model: what it is, how it is loaded, how accurate it is."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from rewardgap.configs.training import TrainConfig
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.measures import MEASURES
from rewardgap.evaluation.text import counted, format_interval, markdown_table
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run

Summaries = Mapping[str, Mapping[str, Any]]
"""What `metrics.json` holds, by evaluation set."""

SHOWN = (
    *("epochs", "batch_size", "learning_rate", "schedule", "optimiser", "adapter", "lora_rank"),
    *("lora_alpha", "quantise", "beta", "max_length", "seed"),
)
"""Settings of the training that the card names."""

CARD = "README.md"
WHOLE = "Plain transformers loads it as `"
ADAPTED = "It is an adapter, which PEFT puts on its base, loaded as `"

USAGE = """```python
import rewardgap

model = rewardgap.load("this folder")
model.score("What is two plus two?", ["Four.", "Five."])  # raw rewards
```"""


def write_model_card(run: Run, config: TrainConfig, pairs: int, summaries: Summaries) -> None:
    """Write the card beside a run's model, trained on so many pairs, in one step."""
    path, automatic_class = run.reward_model / "config.json", None
    if path.exists():
        architectures = json.loads(path.read_text(encoding="utf-8")).get("architectures") or [""]
        is_classifier = architectures[0].endswith("ForSequenceClassification")
        task = "SequenceClassification" if is_classifier else "CausalLM"
        automatic_class = f"AutoModelFor{task}"
    write_text(run.card, model_card(config, pairs, summaries, automatic_class))


def merged_card(text: str) -> str:
    """Return the card of an adapter as that of the model into which it was merged."""
    return text.replace(ADAPTED, WHOLE, 1)


def model_card(
    config: TrainConfig, pairs: int, summaries: Summaries, automatic_class: str | None
) -> str:
    """Return the card as Markdown under the metadata that the Hugging Face hub reads.

    Args:
        config: How the model was trained.
        pairs: On how many pairs.
        summaries: What it reached on the evaluation sets; there may be none.
        automatic_class: Class of transformers that loads it; None where no model was trained.
    """
    base, training = _last_name(config.model), config.train
    name = f"{Path(config.model).name}-{config.kind}-reward-model"
    results = [
        {
            "task": {"type": "reward-modeling", "name": "Preference ranking"},
            "dataset": {"type": _data(config.eval.get(key, key)), "name": key},
            "metrics": [
                {"type": metric, "name": metric, "value": round(summary[metric]["value"], 4)}
                for metric in (measure.name for measure in MEASURES if measure.is_column)
                if metric in summary
            ],
        }
        for key, summary in summaries.items()
    ]
    metadata = {
        "library_name": "transformers",
        "base_model": base,
        "tags": ["reward-model", "rewardgap", config.kind],
        "model-index": [{"name": name, "results": results}],
    }
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    shown = {key.replace("_", " "): getattr(config, key) for key in SHOWN}
    settings = ", ".join(f"{key} {value}" for key, value in shown.items() if value is not None)
    loading = WHOLE if config.adapter is None else ADAPTED
    data = ", ".join(map(_data, [training] if isinstance(training, str) else training))
    parts = [
        f"---\n{front}---",
        f"# {name}",
        f"A reward model of kind *{config.kind}*, trained from `{base}` on "
        f"{counted(pairs, 'pair')} of `{data}` ({settings}). "
        "It says which of several responses to a prompt is better; only differences between "
        "rewards for the same prompt have a meaning. "
        f"Made with rewardgap {version('rewardgap')} and transformers {version('transformers')}.",
        USAGE,
        *([f"{loading}{automatic_class}`."] if automatic_class else []),
        *(_evaluation(summaries) if summaries else []),
    ]
    return "\n\n".join(parts) + "\n"


def _last_name(name: str) -> str:
    """Return the last name of a local path, for the rest is private; other names are unchanged."""
    return Path(name).name if Path(name).expanduser().exists() else name


def _data(spec: str) -> str:
    """Return a data specification without its options."""
    return _last_name(spec.partition("?")[0])


def _evaluation(summaries: Summaries) -> list[str]:
    """Return the table of all sets: the model, baselines, further measures."""
    rules = list(
        dict.fromkeys(rule for summary in summaries.values() for rule in summary["baselines"])
    )
    columns = [measure for measure in MEASURES if measure.is_column]
    further = [measure for measure in MEASURES if not measure.is_column]
    headings = ["set", "records", *(measure.title for measure in columns)]
    headings += [f"({rule.replace('_', ' ')})" for rule in rules]
    headings += [measure.title for measure in further]
    rows = [headings]
    for name, summary in summaries.items():
        intervals = [summary.get(measure.name) for measure in columns]
        values = [summary["baselines"].get(rule) for rule in rules]
        values += [summary.get(measure.name) for measure in further]
        cells = [name, str(summary["n"])]
        cells += [format_interval(Interval(**figures)) if figures else "–" for figures in intervals]
        rows.append(
            [*cells, *(f"{figures['value']:.3f}" if figures else "–" for figures in values)]
        )
    meanings = "; ".join(f"{measure.title}: {measure.meaning}" for measure in (*columns, *further))
    return [
        "## Evaluation",
        markdown_table(rows),
        f"{meanings[0].upper()}{meanings[1:]}. Brackets: 95 % intervals over records. Columns in "
        "parentheses: the accuracy of baselines, which are rules of length and a bag of words "
        "fitted to the training data.",
    ]
