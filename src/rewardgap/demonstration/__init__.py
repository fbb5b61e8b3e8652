"""The demo: from text to reward models whose accuracy survives a paraphrase, or does not."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rewardgap.configs.compute import Device
from rewardgap.configs.training import DemoConfig, PretrainConfig, TrainConfig
from rewardgap.data.load import read_rows
from rewardgap.data.sources.wordings import PARTS
from rewardgap.demonstration.picture import draw
from rewardgap.demonstration.results import caution, conclude, format_table, gather
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import whole_folder, write_text
from rewardgap.io.run_folder import Run, open_run
from rewardgap.models.kinds import find_kind
from rewardgap.training.pretrain import pretrain
from rewardgap.training.train import train

logger = logging.getLogger(__name__)

# About a million parameters, and a vocabulary of mostly whole words.
LANGUAGE_MODEL = PretrainConfig(
    text="dialogues.jsonl",
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
REPORT = """\
Accuracy, mean ± standard deviation over {seeds} seeds; in brackets the paper's figure 4, in
parentheses rules that are blind to content:

{table}

{conclusion}
Where to go from here: the picture is {out}/accuracy.png, every run is a folder beside it, and these
two train another kind on the same pairs and any kind on your own:

  rewardgap train --model {out}/language_model --kind explicit-mean --out runs/explicit-mean \\
    --train agreement:original-train --eval.paraphrased agreement:paraphrased-test \\
    --epochs {epochs} --learning_rate {rate} --batch_size {batch}
  rewardgap train --model MODEL --kind explicit --out runs/mine \\
    --train PAIRS.jsonl --eval.test TEST.jsonl
"""


def demo(config: DemoConfig) -> Path:
    """Make a language model, train every kind with every seed, and print and draw what came out.

    What was done before is not done again: the language model is cached, finished runs are kept.
    `out` receives the language model, a run folder for each kind and seed, `summary.json`,
    `report.txt` (what is printed), and the picture as `accuracy.png` and `accuracy.svg`.

    Returns:
        `out`.

    Raises:
        UserError: an unknown kind, or `out` holds anything but this demo.
    """
    for kind in config.kinds:
        find_kind(kind)
    corpus = _corpus(config.dialogues)
    made = cache_folder(config.cache) / "demo" / _key(corpus)
    out = open_run(config.out, _settings(config) | {"language_model": made.name}, True).folder
    _make_language_model(made, corpus, config.device)
    model = out / "language_model"
    if not model.exists():
        with whole_folder(model) as folder:
            shutil.copytree(made / "language_model", folder, dirs_exist_ok=True)
    runs = {
        kind: [_train(config, out, model, kind, seed) for seed in config.seeds]
        for kind in config.kinds
    }
    print(_report(config, out, runs))
    return out


def _corpus(count: int) -> str:
    rows = read_rows(f"agreement:dialogues?count={count}")
    return "".join(json.dumps(row) + "\n" for _, row in rows)


def _key(corpus: str) -> str:
    return hashlib.sha256(f"{LANGUAGE_MODEL} {corpus}".encode()).hexdigest()[:16]


def _settings(config: DemoConfig) -> dict[str, object]:
    """What determines the results."""
    return {key: value for key, value in asdict(config).items() if key not in ("device", "cache")}


def _make_language_model(folder: Path, corpus: str, device: Device) -> None:
    """Write the text and pretrain on it, unless that was done before."""
    if (folder / "language_model").exists():
        logger.info("language model taken from %s", folder)
        return
    text = folder / "dialogues.jsonl"
    write_text(text, corpus)
    logger.info("making a language model (about a minute on two cores)")
    out = str(folder / "language_model")
    pretrain(replace(LANGUAGE_MODEL, text=str(text), out=out, device=device))


def _train(config: DemoConfig, out: Path, model: Path, kind: str, seed: int) -> Run:
    folder = out / f"{kind}-seed{seed}"
    logger.info("%s, seed %d", kind, seed)
    settings = TrainConfig(
        model=str(model.resolve()),
        kind=kind,
        train="agreement:original-train",
        eval={part: f"agreement:{part}" for part in PARTS},
        out=str(folder),
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        seed=seed,
        checkpoint_steps=0,
        device=config.device,
        cache=config.cache,
        resume=True,
    )
    return Run(train(settings))


def _report(config: DemoConfig, out: Path, runs: Mapping[str, Sequence[Run]]) -> str:
    """Write summary, pictures and report of finished runs; returns the report."""
    results = gather(runs)
    write_text(out / "summary.json", json.dumps(results.to_json(), indent=2) + "\n")
    for ending in ("png", "svg"):
        draw(results.kinds, out / f"accuracy.{ending}")
    report = REPORT.format(
        seeds=len(config.seeds),
        table=format_table(results),
        conclusion="\n".join(filter(None, (conclude(results), caution(results)))),
        out=out,
        epochs=config.epochs,
        rate=config.learning_rate,
        batch=config.batch_size,
    )
    write_text(out / "report.txt", report)
    return report
