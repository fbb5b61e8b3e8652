"""Kinds against baselines, on scores whose outcome is known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from grids import REWORDED, findings, first_right, ranked, results_of, texts, write_grid

from rewardgap.evaluation.scores import read_scores, write_scores
from rewardgap.reporting.results import Results
from rewardgap.reporting.topics import baselines


def blind(tmp_path: Path, lengths: Sequence[tuple[int, int]], right: int = 10) -> Results:
    """Explicit models that are right on the first of 40 records, with lengths for all."""
    grid = replace(REWORDED, kinds=("explicit",), sets={"ultrafeedback": ("in-distribution", None)})
    folder = write_grid(tmp_path, grid, lambda *_: ranked(right, 40))
    for path in folder.rglob("scores/*.jsonl"):
        write_scores(
            path,
            [
                replace(row, tokens_chosen=(chosen,), tokens_rejected=(rejected,))
                for row, (chosen, rejected) in zip(read_scores(path), lengths, strict=True)
            ],
        )
    return results_of(folder)


def test_a_rule_that_does_better_is_called_out(tmp_path):
    """The longer response is right on all but the first record: 39 of 40 against 10 of 40."""
    results = blind(tmp_path, [(1, 2)] + [(2, 1)] * 39)
    comparison = baselines.measure(results)["ultrafeedback"]["explicit", "longer"]
    assert comparison.difference.value == pytest.approx((10 - 39) / 40)
    caution = texts(findings(results), "caution")
    assert caution == (
        "On ultrafeedback the best baseline, “longer wins” (0.975), "
        "is more accurate than explicit (0.250) models."
    )


def test_a_model_that_is_not_shown_to_beat_a_rule_is_called_out(tmp_path):
    """Responses of equal length: every rule is right on half of the records, the models on 22."""
    results = blind(tmp_path, [(1, 1)] * 40, right=22)
    caution = texts(findings(results), "caution")
    assert "(0.500), cannot be told from explicit (0.550) models." in caution


def test_a_rule_that_only_some_models_know_is_compared_with_those(tmp_path):
    """Files of other tools may lack lengths and a bag of words."""
    folder = write_grid(tmp_path, REWORDED, first_right)
    for path in folder.glob("m/implicit/*/scores/*.jsonl"):
        bare = [
            replace(row, tokens_chosen=(), tokens_rejected=(), baselines={})
            for row in read_scores(path)
        ]
        write_scores(path, bare)
    results = results_of(folder)
    compared = baselines.measure(results)["ultrafeedback"]
    assert {kind for kind, rule in compared if rule == "bag_of_words"} == {"explicit", "generative"}
    assert len({kind for kind, rule in compared if rule == "longer"}) == 3, "length is the records'"
    said = texts(findings(results), "difference")
    assert "explicit and generative models are more accurate than every baseline" in said
    assert "every kind is" not in said


def test_every_kind_must_beat_every_rule(tmp_path):
    """The best rule is right on 36 of 40 records, and so are implicit models; explicit on all."""
    right = {"explicit": 40, "implicit": 36}
    grid = replace(
        REWORDED, kinds=("explicit", "implicit"), sets={"ultrafeedback": ("in-distribution", None)}
    )
    folder = write_grid(
        tmp_path,
        grid,
        lambda grid, model, kind, seed, name: ranked(right[kind], 40),
    )
    for path in folder.rglob("scores/*.jsonl"):
        write_scores(
            path,
            [
                replace(row, baselines={"weak": ((0.0,), (0.0,)), "strong": ((1.0,), (0.0,))})
                if index < 36
                else replace(row, baselines={"weak": ((0.0,), (0.0,)), "strong": ((0.0,), (1.0,))})
                for index, row in enumerate(read_scores(path))
            ],
        )
    results = results_of(folder)
    found = findings(results)
    assert "the best baseline, “strong” (0.900), cannot be told from " in texts(found, "caution")
    assert "implicit (0.900)" in texts(found, "caution")
    assert "every kind is more accurate" not in texts(found, "difference")


def test_models_that_beat_every_rule_are_said_to(tmp_path):
    results = blind(tmp_path, [(1, 1)] * 40, right=40)
    said = texts(findings(results), "difference")
    assert said == "On ultrafeedback every kind is more accurate than every baseline."


def test_models_that_follow_length_are_called_out(tmp_path):
    """Where the longer response loses, on the last 30 records, explicit models are always wrong."""
    results = blind(tmp_path, [(2, 1)] * 10 + [(1, 2)] * 30)
    caution = texts(findings(results), "caution")
    assert "where the longer response loses, explicit models reach 0.000" in caution
