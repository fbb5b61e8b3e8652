"""Records and trees that several runs share."""

import os
from pathlib import Path

import pytest
import torch
from toy import configure, pair_rows, several_rows, write_rows

from rewardgap.configs.compute import ComputeConfig
from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data import prepared as module
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.errors import UserError
from rewardgap.forecasting.forecast import forecast
from rewardgap.models.kinds import find_kind


def open_model(kind: str, folder, **options: object):
    template = ChatTemplate.load(folder)
    return find_kind(kind).initialise(folder, template, KindConfig(**options), torch.float32)


@pytest.fixture
def tokenised(monkeypatch) -> list[int]:
    """Number of texts of every call of a tokenizer."""
    texts: list[int] = []
    tokenize = ChatTemplate.tokenize
    monkeypatch.setattr(
        ChatTemplate, "tokenize", lambda self, some: texts.append(len(some)) or tokenize(self, some)
    )
    return texts


def test_data_are_read_once(tmp_path):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(4))
    shared = PreparedData()
    refuse, drop = ComputeConfig(), ComputeConfig(identical_pairs="drop")
    records = shared.records(data, refuse)
    assert [record.id for record in records] == [row["id"] for row in pair_rows(4)]
    (tmp_path / "data.jsonl").unlink()
    assert shared.records(data, refuse) is records
    write_rows(tmp_path / "data.jsonl", pair_rows(2))
    assert len(shared.records([data], refuse)) == len(shared.records(data, drop)) == 2


def test_trees_are_made_once_for_kinds_that_write_alike(folders, tmp_path, tokenised):
    shared, data = PreparedData(), write_rows(tmp_path / "data.jsonl", pair_rows(4))
    records = shared.records(data, ComputeConfig())
    explicit = open_model("explicit", folders("llama"))
    implicit = open_model("implicit", folders("llama"), beta=0.5)
    generative = open_model("generative", folders("llama"))
    paper = open_model("explicit", folders("llama", "<|pad|>", None))

    def trees(model, spec=data, max_length=None):
        return shared.evaluation_trees(model.encoder, spec, ComputeConfig(), max_length)

    first = trees(explicit)
    assert first == explicit.encode(records)
    tokenised.clear()
    assert trees(implicit) is first and not tokenised
    assert trees(implicit, max_length=24) == implicit.encode(records, 24)
    assert trees(implicit, f"{data}?limit=2") == implicit.encode(records[:2])
    assert trees(generative) == generative.encode(records)
    assert trees(paper) == paper.encode(records) != first, "another template"


@pytest.fixture
def config(folders, tmp_path) -> TrainConfig:
    return configure(tmp_path, folders("llama"))


def entries(config: TrainConfig) -> list[Path]:
    return sorted(Path(config.cache, "trees").glob("*/*.rows"))


def changed(config: TrainConfig, **changes: object) -> TrainConfig:
    return TrainConfig(**{**vars(config), **changes})


def test_training_trees_are_made_once_for_kinds_that_write_alike(
    folders, config, tokenised, monkeypatch
):
    monkeypatch.setattr(module, "CHUNK", 5)  # 12 records, so that the last chunk is smaller
    explicit = open_model("explicit", folders("llama"))
    implicit = open_model("implicit", folders("llama"), beta=0.5)
    trees = PreparedData().training_trees(explicit.encoder, config)
    assert list(trees) == explicit.encode_for_training(load(config.train))
    tokenised.clear()
    again = PreparedData().training_trees(implicit.encoder, config)
    assert list(again) == list(trees) and not tokenised and len(entries(config)) == 1


def test_whatever_changes_the_trees_makes_others(folders, config, tmp_path):
    plain = open_model("generative", folders("llama"))
    weighted = open_model("generative", folders("llama"), likelihood_weight=0.1)
    asking = open_model("generative", folders("llama"), verification_prompt="{prompt} {response}?")
    other = open_model("generative", folders("llama", "<|pad|>", None))
    longer = write_rows(tmp_path / "longer.jsonl", several_rows(3))
    for made, (model, changes) in enumerate(
        [
            (plain, {}),
            (weighted, {}),
            (asking, {}),
            (other, {}),
            (plain, {"max_length": 60}),
            (plain, {"train": longer}),
            (plain, {"train": [config.train, longer]}),
            (plain, {"train": f"{config.train}?limit=3"}),
            (plain, {"identical_pairs": "drop"}),
            (plain, {"bad_records": "drop"}),
        ],
        start=1,
    ):
        current = changed(config, **changes)
        trees = PreparedData().training_trees(model.encoder, current)
        expected = model.encode_for_training(load(current.train), current.max_length)
        assert list(trees) == expected
        assert len(entries(config)) == made


def test_a_data_file_that_was_changed_is_noticed_by_a_new_start(folders, config, tmp_path):
    model = open_model("explicit", folders("llama"))
    shared = PreparedData()
    before = list(shared.training_trees(model.encoder, config))
    stamps = Path(config.train).stat()
    text = Path(config.train).read_text()
    Path(config.train).write_text(text.replace("yes, sure", "yes, true"))  # as long as before
    os.utime(config.train, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert list(shared.training_trees(model.encoder, config)) == before, (
        "one grid, one state of the data"
    )
    after = list(PreparedData().training_trees(model.encoder, config))
    assert after != before and after == model.encode_for_training(load(config.train))
    copy = Path(config.train).rename(tmp_path / "moved.jsonl")
    assert (
        list(PreparedData().training_trees(model.encoder, changed(config, train=str(copy))))
        == after
    )
    assert len(entries(config)) == 2, "where a file lies is no matter"


def test_a_forecast_takes_its_training_trees_from_training(folders, config, tokenised):
    PreparedData().training_trees(open_model("implicit", folders("llama")).encoder, config)
    (kept,) = entries(config)
    tokenised.clear()
    forecast(
        ForecastConfig(
            model=config.model,
            train=config.train,
            eval={"test": config.train},
            out=f"{config.out}-forecast",
            cache=config.cache,
            device="cpu",
        )
    )
    assert entries(config) == [kept]
    records = load(config.train)
    of_evaluation = [len(records), sum(len(record.responses) for record in records)]
    assert [texts for texts in tokenised if texts > 1] == of_evaluation


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_made_again(damage, folders, config, caplog):
    model = open_model("explicit", folders("llama"))
    expected = list(PreparedData().training_trees(model.encoder, config))
    (path,) = entries(config)
    whole = path.read_bytes()
    flipped = whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]
    path.write_bytes({"cut": whole[: len(whole) // 2], "flipped": flipped, "empty": b""}[damage])
    assert list(PreparedData().training_trees(model.encoder, config)) == expected
    assert caplog.text.count("is damaged; it is computed again") == 1
    assert path.read_bytes() == whole


def test_wrong_rows_are_told_before_anything_is_made(config):
    with Path(config.train).open("a") as file:
        file.write('{"prompt": "hi", "chosen": "yes"}\n')
    with pytest.raises(UserError, match=r"train.jsonl, line 13: `rejected` is missing"):
        PreparedData().check(config)
    assert not Path(config.cache).exists()


def test_data_whose_trees_are_there_are_not_read_again(folders, config, monkeypatch):
    PreparedData().training_trees(open_model("explicit", folders("llama")).encoder, config)
    monkeypatch.setattr(module, "stream", lambda *_: pytest.fail("was read again"))
    PreparedData().check(config)


def test_the_baseline_is_fitted_once(config, monkeypatch):
    shared = PreparedData()
    assert shared.bag_of_words(config) == BagOfWords.fit(load(config.train))
    monkeypatch.setattr(module, "stream", lambda *_: pytest.fail("was read again"))
    assert shared.bag_of_words(config).weights


def test_a_run_finds_all_its_data_tokenised(folders, config, tokenised):
    model = open_model("implicit", folders("llama"))
    shared = PreparedData()
    data = RunData.open(config, model.encoder, shared)
    assert list(data.training) == model.encode_for_training(load(config.train))
    assert data.evaluation == {"test": model.encode(load(config.eval["test"]))}
    assert data.bag_of_words() == BagOfWords.fit(load(config.train))
    explicit = open_model("explicit", folders("llama"))
    tokenised.clear()
    again = RunData.open(config, explicit.encoder, shared)
    assert again.evaluation["test"] is data.evaluation["test"] and not tokenised
    records, trees = again.evaluation_set("test", model.encoder, None)
    assert records == load(config.eval["test"]) and trees is data.evaluation["test"]
    (_, shorter) = again.evaluation_set("test", model.encoder, 24)
    assert shorter == model.encode(records, 24)


def test_an_encoding_of_the_same_name_and_options_shares_trees_and_no_other(folders):
    explicit, implicit, generative = (
        open_model(kind, folders("llama")) for kind in ("explicit", "implicit", "generative")
    )
    asking = open_model("generative", folders("llama"), verification_prompt="{prompt} {response}?")
    scaled = open_model("implicit", folders("llama"), beta=3.0)
    key = explicit.encoder.key(24)
    assert key == implicit.encoder.key(24) == scaled.encoder.key(24)
    models = (generative, asking, open_model("explicit", folders("llama", "<|pad|>", None)))
    assert len({key, explicit.encoder.key(None), *(m.encoder.key(24) for m in models)}) == 5
