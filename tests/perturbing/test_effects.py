"""What a shift does, by hand."""

import pytest

from rewardgap.evaluation.scores import ScoreRow
from rewardgap.perturbing.effects import adjust_effects, measure_effect


def rows(*pairs: tuple[float, float]) -> list[ScoreRow]:
    return [ScoreRow(f"r{i}", (chosen,), (rejected,)) for i, (chosen, rejected) in enumerate(pairs)]


def test_an_effect_by_hand():
    before = rows((2, 1), (1, 0), (0, 1), (4, 1))
    effect = measure_effect(before, rows((0, 1), (1, 0), (0, 1), (3, 2)), {"r0", "r3"})
    assert (effect.changed, effect.before, effect.after) == (2, 0.75, 0.5)
    assert effect.lost == 0.25 and effect.cost.flip_rate.value == 0.25
    assert effect.reward_change == pytest.approx(-0.25 / 1.4375**0.5)  # −2 over 8 responses
    assert effect.effect_size == pytest.approx(1 / (4 / 3) ** 0.5)  # margins fall by 2, 0, 0, 2
    assert effect.cost.loss.permutation_p == 1.0 and not effect.is_detected  # of one loss


def test_a_record_that_is_missing_is_left_out():
    before, after = rows((2, 1), (1, 0), (0, 1)), rows((2, 1), (0, 1))
    effect = measure_effect(before, after, {"r1", "r2"})
    assert (effect.changed, effect.cost.left_out, effect.cost.loss.n) == (1, 1, 2)


def test_equal_rewards_have_no_deviation():
    effect = measure_effect(rows((1, 1), (1, 1)), rows((2, 2), (2, 2)), {"r0", "r1"})
    assert effect.reward_change is None and effect.effect_size is None
    assert effect.to_json()["reward_change"] is None


def test_tests_are_adjusted_for_all_models_and_shifts():
    before = rows(*[(1, 0)] * 8)
    kept, lost = (measure_effect(before, rows(*[pair] * 8), set()) for pair in ((1, 0), (0, 1)))
    assert lost.cost.loss.permutation_p == pytest.approx(2 / 2**8)  # of all eight signs
    adjusted = adjust_effects({("a", "x"): kept, ("a", "y"): lost, ("b", "y"): lost})
    assert adjusted["b", "y"].cost.loss.holm_p == pytest.approx(3 * 2 / 2**8)
    assert adjusted["b", "y"].cost.loss.bh_p == pytest.approx(3 / 2 * 2 / 2**8)
    assert adjusted["a", "y"].is_detected and not adjusted["a", "x"].is_detected
