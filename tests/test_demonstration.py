"""The demo: what it says of its numbers, and the whole of it with tiny settings."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from grids import Grid, ranked, write_grid

import rewardgap.demonstration
import rewardgap.io.cache
from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.training import DemoConfig
from rewardgap.data.load import load
from rewardgap.data.sources.wordings import PARTS
from rewardgap.demonstration import EXPERIMENT, conclude, demo
from rewardgap.errors import UserError
from rewardgap.experiments.experiment import read_experiment
from rewardgap.io.grid_folder import read_experiment_record
from rewardgap.reporting.paper import saving
from rewardgap.reporting.results import Results, read_results
from rewardgap.reporting.topics.accuracy import terminal_table

torch.set_num_threads(1)  # threads cost tiny models more than they give

SETS = (*PARTS, "crossed-test")


def results_of(folder: Path, **accuracies: tuple[float, ...]) -> Results:
    """Results of one seed with given accuracies on `SETS` over 20 records.

    The bag of words of `grids` ranks every second record right.
    """

    def rewards(
        grid: Grid, model: str, kind: str, seed: int, name: str
    ) -> list[tuple[float, float]]:
        right = round(20 * accuracies[kind][SETS.index(name)])
        return ranked(right, 20)

    grid = Grid(
        name="demo",
        models=("m",),
        kinds=tuple(accuracies),
        seeds=(0,),
        sets={name: ("in-distribution", None) for name in SETS},
        records=20,
    )
    (results,) = read_results([str(write_grid(folder, grid, rewards))])
    return results


def test_the_gap_is_reported_where_it_is_seen(tmp_path: Path) -> None:
    results = results_of(tmp_path, explicit=(1, 1, 1, 0.95, 1), implicit=(1, 1, 0.1, 0.2, 0))
    assert "explicit (95%) survived and implicit (20%) did not" in conclude(results)


def test_the_gap_is_not_claimed_where_it_is_not_seen(tmp_path: Path) -> None:
    alike = results_of(tmp_path / "a", explicit=(1, 1, 1, 0.95, 1), implicit=(1, 1, 0.9, 0.9, 1))
    assert "was not seen" in conclude(alike)
    reverse = results_of(tmp_path / "b", explicit=(1, 1, 0, 0.1, 1), implicit=(1, 1, 1, 1, 1))
    assert "implicit (100%) survived and explicit (10%) did not" in conclude(reverse)


def test_nothing_is_concluded_from_runs_that_did_not_learn(tmp_path: Path) -> None:
    results = results_of(tmp_path, explicit=(1, 1, 1, 1, 1), implicit=(0.6, 0.5, 0.1, 0.2, 1))
    assert "implicit (50%" in conclude(results)
    assert "say nothing" in conclude(results)


def test_baselines_that_survive_are_named_with_what_they_reach_on_the_crossed_set(
    tmp_path: Path,
) -> None:
    results = results_of(tmp_path, explicit=(1, 1, 1, 1, 0.75))
    assert "baselines" not in conclude(results)
    metrics, sets = results.frame["metric"], results.frame["set"]
    bag = metrics == "baseline bag_of_words"
    results.frame.loc[bag & (sets == "paraphrased-test"), "value"] = 0.95
    said = conclude(results)
    assert "survive the paraphrase as well (bag of words (95%))" in said
    assert "they reach bag of words (50%), and the kinds explicit (75%)" in said


def test_the_table_shows_measured_and_printed_figures(tmp_path: Path) -> None:
    results = results_of(tmp_path, implicit=(1, 0.5, 0.1, 0.2, 0), length=(0, 0, 0, 0, 0))
    lines = {line.split()[0]: line for line in terminal_table(results).splitlines()}
    assert terminal_table(results).splitlines()[0].split() == list(SETS)
    assert "0.200 [0.019]" in lines["implicit"]
    assert "[" not in lines["length"]


def test_a_bag_of_words_tells_the_paraphrases_and_not_the_crossed_ones() -> None:
    """The experiment's sets, by the baseline that its training pairs give."""
    from rewardgap.data.bag_of_words import BagOfWords, response_text

    experiment = read_experiment(RunConfig(experiment=str(EXPERIMENT), out="out"))
    assert isinstance(experiment.train.data, str)
    words = BagOfWords.fit(load(experiment.train.data))
    accuracies = {}
    for name, source in experiment.eval.items():
        assert source.data is not None
        gaps = [
            words.score(response_text(record.chosen[0]))
            - words.score(response_text(record.rejected[0]))
            for record in load(source.data)
        ]
        accuracies[name] = sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
    assert accuracies == dict.fromkeys(PARTS, 1.0) | {"crossed-test": 0.5}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoConfig:
    smaller = replace(
        rewardgap.demonstration.LANGUAGE_MODEL,
        layers=1,
        width=16,
        heads=2,
        feed_forward=32,
        batch_tokens=512,
    )
    monkeypatch.setattr(rewardgap.demonstration, "LANGUAGE_MODEL", smaller)
    monkeypatch.setattr(saving, "FORMATS", ("svg", "png"))
    # A check of a file is noted once the file has settled, in this demo or in the next.
    monkeypatch.setattr(rewardgap.io.cache, "SETTLED", -1)
    return DemoConfig(
        out=str(tmp_path / "out"),
        kinds=["explicit", "implicit"],
        seeds=[0, 1],
        dialogues=60,
        epochs=1,
        learning_rate=1e-3,
        device="cpu",
        cache=str(tmp_path / "cache"),
    )


def test_the_whole_demo(tiny: DemoConfig, capsys: pytest.CaptureFixture[str]) -> None:
    out = demo(tiny)
    text = capsys.readouterr().out
    assert text.strip() == (out / "report.txt").read_text().strip()
    cells = read_experiment_record(out / "runs").cells
    assert [(cell.kind, cell.seed) for cell in cells] == [
        (kind, seed) for seed in (0, 1) for kind in ("explicit", "implicit")
    ]
    (results,) = read_results([str(out / "runs")])
    assert terminal_table(results) in text
    assert all(f"{kind} " in text for kind in ("explicit", "implicit"))
    assert (out / "report" / "index.html").exists()
    assert list((out / "report" / "figures").glob("*.png"))
    _check_that_a_second_demo_works_on_nothing(tiny, out, text, capsys)


def _check_that_a_second_demo_works_on_nothing(
    config: DemoConfig, out: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def worked_on() -> dict[Path, int]:
        made = [*out.rglob("*"), *Path(config.cache or "").rglob("*")]
        return {
            path: path.stat().st_mtime_ns
            for path in made
            if path.is_file() and "report" not in str(path.relative_to(out.parent))
            if path.name != "experiment.yaml"
        }

    before = worked_on()
    demo(config)
    assert worked_on() == before
    assert capsys.readouterr().out == text
    with pytest.raises(UserError, match="another settings"):
        demo(replace(config, epochs=2))
    with pytest.raises(UserError, match="another dialogues"):
        demo(replace(config, dialogues=61))


def test_an_unknown_kind_is_refused_before_any_work(tiny: DemoConfig) -> None:
    with pytest.raises(UserError, match="unknown kind 'explict'"):
        demo(replace(tiny, kinds=["explict"]))
    assert not Path(tiny.out).exists()
