"""The key `template`: another chat template than the model's, in every command, kept with a run."""

import json
from pathlib import Path

import pytest
from tiny import TEMPLATE
from toy import configure, pair_rows, read_rows, write_rows

import rewardgap
from rewardgap.configs.forecasting import ChesConfig, ExplainConfig, ForecastConfig
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load as load_records
from rewardgap.errors import UserError
from rewardgap.explaining.displacement import ches
from rewardgap.explaining.explain import explain
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.run_folder import Run
from rewardgap.models.saved import SavedRewardModel
from rewardgap.scoring.score import score
from rewardgap.training.train import train

MINE = TEMPLATE.replace("'<|' + m['role'] + '|>'", "m['role'] + ' says '")
MINE = MINE.replace("'<|assistant|>'", "'assistant says '")


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.jinja"
    path.write_text(MINE)
    return str(path)


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
@pytest.mark.parametrize("name", ["chatml", "mine", "paper"])
def test_a_run_is_scored_with_the_template_of_its_training(name, kind, model, mine, tmp_path):
    template = mine if name == "mine" else name
    config = configure(tmp_path, model, kind=kind, template=template, epochs=1)
    run = Run(train(config))
    Path(mine).unlink()
    assert run.read_config()["template"] == template
    assert SavedRewardModel.read(run.reward_model / "rewardgap.json").template == template
    out, common = tmp_path / "scores", {"cache": config.cache, "device": "cpu"}
    data = config.eval["test"]
    score(ScoreConfig(model=str(run.folder), data=data, out=str(out), **common))
    assert out.read_bytes() == run.scores("test").read_bytes()
    scorer = rewardgap.load(str(run.reward_model), **common)
    (tree, *_) = scorer.model.encode(load_records(data))
    text = scorer.model.template.tokenizer.decode(tree.sequence(tree.leaves[0]))
    begin = {"chatml": "<|im_start|>user", "mine": "<|begin|>user says ", "paper": "[USER]"}[name]
    assert begin in text and "<|user|>" not in text
    if kind == "explicit":
        page = tmp_path / f"page-{template is None}.html"
        asked = {"model": str(run.folder), "data": data, "id": "pair-12", "out": str(page)}
        explain(ExplainConfig(**asked, **common))
        explained = json.loads(page.with_suffix(".json").read_text())
        assert explained["influence"] and not explained["obstacle"]


def test_the_same_text_under_another_name_is_the_same_model(model, tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(TEMPLATE)
    runs = []
    for out, template in (("without", None), ("with", str(path))):
        config = configure(tmp_path, model, epochs=1, template=template, out=str(tmp_path / out))
        runs.append(Run(train(config)))
    first, second = (run.scores("test").read_bytes() for run in runs)
    assert first == second
    scorers = [
        rewardgap.load(str(runs[0].folder), template=template, device="cpu")
        for template in (None, "zephyr")
    ]
    rewards = [scorer.score("hi", ["yes", "no"]) for scorer in scorers]
    assert rewards[0] != rewards[1], "what is asked for wins over what was saved"


def test_commands_on_a_language_model(model, mine, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(6))
    written: dict[str | None, list[str]] = {}
    for template in (None, mine):
        common = {"model": str(model), "device": "cpu", "template": template}
        out = {name: str(tmp_path / f"{name}-{template is None}") for name in ("s", "c", "f")}
        kind = {"kind": "implicit-no-reference"}
        score(ScoreConfig(**common, **kind, data=data, out=out["s"]))
        ches(ChesConfig(**common, data=data, out=out["c"]))
        cache = str(tmp_path / "cache")
        keys = {"kinds": ["explicit"], "train": data, "eval": {"test": data}, "cache": cache}
        forecast(ForecastConfig(**common, **keys, out=out["f"]))
        paths = Path(out["s"]), Path(out["c"]), Path(out["f"]) / "scores" / "explicit/test.jsonl"
        written[template] = [path.read_text() for path in paths]
        page = tmp_path / f"page-{template is None}.html"
        asked = {"model": out["f"], "data": data, "id": "pair-1", "out": str(page), "cache": cache}
        explain(ExplainConfig(**asked, device="cpu"))
        tokens = json.dumps(json.loads(page.with_suffix(".json").read_text()))
        written[template].append(tokens)
    for plain, changed in zip(*written.values(), strict=True):
        assert plain != changed
    template = ChatTemplate.load(model, mine)
    lengths = [tree.lengths for tree in template.encode(load_records(data))]
    rows = read_rows(tmp_path / "s-False")
    assert [(row["tokens_chosen"], row["tokens_rejected"]) for row in rows] == lengths


def test_a_template_that_is_none_is_refused(model, tmp_path):
    config = configure(tmp_path, model, template="nowhere.jinja")
    with pytest.raises(UserError, match=r"template: nowhere.jinja is no file, and no name of a"):
        train(config)
