"""The demo: from text to reward models whose accuracy survives a paraphrase, or does not.

It makes a language model, runs the experiment `experiments/demo.yaml` on it, and reports.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rewardgap.configs.experiments import ReportConfig, RunConfig
from rewardgap.configs.training import DemoConfig, PretrainConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import read_rows
from rewardgap.evaluation.text import join_names
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.run import run
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import whole_folder, write_text
from rewardgap.io.run_folder import open_run
from rewardgap.reporting.report import report
from rewardgap.reporting.results import BASELINE, Results, read_results
from rewardgap.reporting.topics.accuracy import terminal_table
from rewardgap.training.pretrain import pretrain

logger = logging.getLogger(__name__)

EXPERIMENT = Path(__file__).with_name("experiments") / "demo.yaml"
LANGUAGE_MODEL = PretrainConfig(
    text="agreement:dialogues",
    out="language_model",
    vocabulary=640,
    layers=4,
    width=128,
    heads=4,
    feed_forward=344,
    context=256,
    batch_tokens=4096,
    warmup_steps=20,
)
"""About a million parameters, and a vocabulary of mostly whole words."""
SURVIVES, FAILS = 0.9, 0.5
"""A kind survives a paraphrase from the first accuracy on unseen prompts, and fails below the
second."""
TEXT = """\
Accuracy, mean ± standard deviation over seeds; in brackets the paper's figure 4, in parentheses
baselines, which understand nothing:

{table}

{conclusion}
Where to go from here: {out}/report/index.html is the report, {out}/runs has a
folder for every run, and these two commands train another kind on the same pairs and any kind on
your own:

  rewardgap train --model {out}/language_model --kind explicit-mean --out runs/explicit-mean \\
    --train agreement:original-train --eval.paraphrased agreement:paraphrased-test \\
    --epochs 20 --learning-rate 5e-5 --batch-size 16
  rewardgap train --model MODEL --kind explicit --out runs/mine \\
    --train PAIRS.jsonl --eval.test TEST.jsonl
"""


@by_keywords(DemoConfig)
def demo(config: DemoConfig) -> Path:
    """Make a language model, train every kind with every seed, report, and print the result.

    The language model is cached and finished runs are kept, so that a second call is quick. The
    folder `out`, which is returned, receives the language model, the experiment's folder as `runs`,
    its `report`, and `report.txt`, the text that is printed.

    Raises:
        UserError: A kind is unknown, or `out` holds anything but this demo.
    """
    overrides = {key: getattr(config, key) for key in ("epochs", "learning_rate", "batch_size")}
    settings = {key: value for key, value in overrides.items() if value is not None}
    out = Path(config.out)
    experiment = RunConfig(
        experiment=str(EXPERIMENT),
        out=str(out / "runs"),
        models=[str(out / "language_model")],
        kinds=config.kinds,
        seeds=config.seeds,
        settings={**settings, "device": config.device, "cache": config.cache},
    )
    read_experiment(experiment)
    _make_language_model(config)
    run(experiment)
    report(ReportConfig(folders=[experiment.out], out=str(out / "report")))
    (results,) = read_results([experiment.out])
    text = TEXT.format(table=terminal_table(results), conclusion=conclude(results), out=out)
    write_text(out / "report.txt", text)
    print(text)
    return out


def _make_language_model(config: DemoConfig) -> None:
    """Pretrain the language model, or copy it from the cache, unless `out` has it."""
    text = f"{LANGUAGE_MODEL.text}?count={config.dialogues}"
    digest = hashlib.sha256(f"{LANGUAGE_MODEL} {list(read_rows(text))}".encode())
    made = cache_folder(config.cache) / "demo" / digest.hexdigest()[:16]
    identity = {"dialogues": config.dialogues, "language_model": made.name}
    run_folder = open_run(config.out, identity, resume=True, cache=config.cache).folder
    model = run_folder / "language_model"
    if model.exists():
        return
    if not made.exists():
        logger.info("making a language model (about a minute on two cores)")
        pretrain(replace(LANGUAGE_MODEL, text=text, out=str(made), device=config.device))
    with whole_folder(model) as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)


def conclude(results: Results) -> str:
    """Return in sentences which kinds survived the paraphrase, and what that does not prove."""
    original, paraphrased, crossed = (
        {
            kind: spread.mean
            for kind in results.kinds
            if (spread := results.spread("accuracy", [name], kind))
        }
        for name in ("original-test", "paraphrased-test", "crossed-test")
    )
    unlearned = {kind: value for kind, value in original.items() if value < SURVIVES}
    if unlearned:
        return (
            "Not every kind learned to rank unseen prompts in the wording it was trained on "
            f"({_in_words(unlearned)}), so these runs say nothing about paraphrases.\n"
        )
    text = (
        "In the wording they were trained on, even the least accurate kind ranked "
        f"{min(original.values()):.0%} of the pairs of unseen prompts right; reworded, "
    )
    survivors = {kind: value for kind, value in paraphrased.items() if value >= SURVIVES}
    failures = {kind: value for kind, value in paraphrased.items() if value < SURVIVES}
    if survivors and min(paraphrased.values()) < FAILS:
        text += f"{_in_words(survivors)} survived and {_in_words(failures)} did not: "
        text += "a gap like the paper's.\n"
    else:
        text += f"they reached {_in_words(paraphrased)}: the gap of the paper was not seen.\n"
    return text + _caution(results, crossed)


def _caution(results: Results, crossed: Mapping[str, float]) -> str:
    """Return a sentence on the baselines that survive the paraphrase too."""
    means = results.frame.groupby(["metric", "set"])["value"].mean()
    reworded, by_word = {}, {}
    for rule in results.baselines:
        mean = means[f"{BASELINE}{rule}", "paraphrased-test"]
        if mean >= SURVIVES:
            reworded[rule.replace("_", " ")] = mean
            by_word[rule.replace("_", " ")] = means[f"{BASELINE}{rule}", "crossed-test"]
    if not reworded:
        return ""
    return (
        f"Baselines survive the paraphrase as well ({_in_words(reworded)}), so "
        "surviving it is no proof of understanding. In the crossed wordings, where only the "
        f"answer's word differs, they reach {_in_words(by_word)}, and the kinds "
        f"{_in_words(crossed)}.\n"
    )


def _in_words(accuracies: Mapping[str, float]) -> str:
    return join_names([f"{name} ({value:.0%})" for name, value in accuracies.items()])
