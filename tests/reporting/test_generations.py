"""What the report says of the answers that models generate, after training and before."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from grids import Grid, findings, results_of, texts, write_grid
from scipy.stats import beta, binomtest

from rewardgap.io.generations import Answer, write_answers
from rewardgap.reporting.results import Results
from rewardgap.reporting.topics import generations


def generated(tmp_path: Path, after: Sequence[int], before: Sequence[int]) -> Results:
    """An implicit model that answers rightly to some prompts of 100, after and before training."""
    grid = Grid(
        name="hamiltonian", models=("m",), seeds=(0,), sets={"test": ("in-distribution", None)}
    )
    folder = write_grid(tmp_path, grid, lambda *_: [(1.0, 0.0)] * 12)
    run = folder / "m/implicit/seed-0"
    for place, right in ((run, after), (folder / "initial/m", before)):
        answers = [Answer(str(number), "", number in right) for number in range(100)]
        write_answers(place / "generations" / "test.jsonl", answers)
    share = {"correct": len(after) / 100, "initial": len(before) / 100, "n": 100}
    (run / "generations.json").write_text(json.dumps({"test": share}))
    return results_of(folder)


def test_generations_that_no_test_tells_from_those_before_training(tmp_path):
    results = generated(tmp_path, after=range(2), before=range(5, 6))
    (run,) = generations.measure(results)["test", "implicit"]
    assert run.change.mcnemar_p == pytest.approx(binomtest(2, 3).pvalue)
    # Clopper and Pearson's bounds are quantiles of Beta distributions.
    bounds = beta(2, 99).ppf(0.025), beta(3, 98).ppf(0.975)
    assert (run.correct.low, run.correct.high) == pytest.approx(bounds)
    found = findings(results)
    assert "On test, implicit models rank responses with accuracy 1.000" in texts(found, "alike")
    assert "while 2.0% (each run's interval within 0.2% to 7.0%)" in texts(found, "alike")
    assert "no run's share can be told from the 1.0% before training" in texts(found, "alike")
    assert "generate" not in texts(found, "difference")


@pytest.mark.parametrize(
    ("after", "before", "what"), [(range(30), range(5), "more"), (range(5), range(30), "fewer")]
)
def test_generations_that_training_changed(tmp_path, after, before, what):
    results = generated(tmp_path, after, before)
    said = texts(findings(results), "difference")
    assert f"a test finds {what} in 1 of 1 runs" in said


def test_generations_without_their_answers_are_not_tested(tmp_path):
    results = generated(tmp_path, range(30), range(5))
    for path in tmp_path.rglob("test.jsonl"):
        if path.parent.name == "generations":
            path.unlink()
    results = results_of(tmp_path)
    said = texts(findings(results), "caution")
    assert "before training 5.0% were, which is not tested" in said
