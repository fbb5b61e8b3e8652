"""The demo: what it says of its numbers, and the whole of it with tiny settings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rewardgap.demonstration
from rewardgap.configs.training import DemoConfig
from rewardgap.data.sources.wordings import PARTS
from rewardgap.demonstration import demo
from rewardgap.demonstration.results import Results, Spread, caution, conclude, format_table
from rewardgap.errors import UserError

torch.set_num_threads(1)  # threads cost tiny models more than they give


def results(**accuracies: tuple[float, float, float, float]) -> Results:
    kinds = {
        kind: {part: Spread(value, 0.0) for part, value in zip(PARTS, values, strict=True)}
        for kind, values in accuracies.items()
    }
    return Results(kinds, {"longer": dict.fromkeys(PARTS, 0.25)})


def test_the_gap_is_reported_where_it_is_seen() -> None:
    sentence = conclude(results(explicit=(1, 1, 1, 0.97), implicit=(1, 1, 0.1, 0.2)))
    assert "explicit (97%) survived and implicit (20%) did not" in sentence


def test_the_gap_is_not_claimed_where_it_is_not_seen() -> None:
    sentence = conclude(results(explicit=(1, 1, 1, 0.97), implicit=(1, 1, 0.9, 0.94)))
    assert "was not seen" in sentence
    reverse = conclude(results(explicit=(1, 1, 0, 0.1), implicit=(1, 1, 1, 1.0)))
    assert "implicit (100%) survived and explicit (10%) did not" in reverse


def test_nothing_is_concluded_from_runs_that_did_not_learn() -> None:
    sentence = conclude(results(explicit=(1, 1, 1, 1), implicit=(0.6, 0.5, 0.1, 0.2)))
    assert "implicit (50%" in sentence
    assert "say nothing" in sentence


def test_content_blind_rules_that_survive_are_named() -> None:
    assert caution(results(explicit=(1, 1, 1, 1))) == ""
    blind = replace(results(), baselines={"bag_of_words": dict.fromkeys(PARTS, 0.95)})
    assert "bag of words (95%)" in caution(blind)


def test_the_table_shows_measured_and_printed_figures() -> None:
    table = format_table(results(implicit=(1, 0.5, 0.1, 0.2), length=(0, 0, 0, 0)))
    header, implicit, length, longer = table.splitlines()
    assert header.split() == list(PARTS)
    assert "0.200 ± 0.000 [0.019]" in implicit
    assert "[" not in length
    assert longer.split() == ["(longer)", *["0.250"] * 4]


def test_the_spread_is_that_of_the_seeds() -> None:
    assert Spread.of([1.0]) == Spread(1.0, 0.0)
    assert Spread.of([0.0, 1.0]) == Spread(0.5, 0.5)


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
    report = capsys.readouterr().out
    assert report.strip() == (out / "report.txt").read_text().strip()
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "accuracy.svg").read_bytes()[:500]

    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == tiny.kinds
    for kind in tiny.kinds:
        runs = [json.loads((out / f"{kind}-seed{s}" / "metrics.json").read_text()) for s in (0, 1)]
        for part in PARTS:
            values = [run[part]["accuracy"]["value"] for run in runs]
            assert summary[kind][part] == {
                "mean": pytest.approx(np.mean(values)),
                "std": pytest.approx(np.std(values)),
            }
    _check_that_a_second_demo_works_on_nothing(tiny, out)


def _check_that_a_second_demo_works_on_nothing(config: DemoConfig, out: Path) -> None:
    def worked_on() -> dict[Path, int]:
        made = [*out.glob("*/**/*"), *Path(config.cache or "").rglob("*")]
        return {path: path.stat().st_mtime_ns for path in made if path.is_file()}

    before = worked_on()
    summary = (out / "summary.json").read_bytes()
    demo(config)
    assert worked_on() == before
    assert (out / "summary.json").read_bytes() == summary
    with pytest.raises(UserError, match="another epochs"):
        demo(replace(config, epochs=2))


def test_an_unknown_kind_is_refused_before_any_work(tiny: DemoConfig) -> None:
    with pytest.raises(UserError, match="unknown kind 'explict'"):
        demo(replace(tiny, kinds=["explict"]))
    assert not Path(tiny.out).exists()
